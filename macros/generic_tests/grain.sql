{# No two rows share the grain that the model's yml states (meta.grain), and none lacks a part of it; [] is a single row. #}
{% test grain(model) %}
{%- set nodes = graph.nodes.values() | selectattr('resource_type', 'in', ['model', 'seed']) if execute else [] -%}
{%- set node = nodes | selectattr('alias', 'equalto', model.identifier) | first -%}
{%- set columns = node.config.meta.grain if node else [] -%}
{%- if columns %}
select
    {{ sorted_groups_of(model, columns) }}
    {{ columns | join(', ') }}
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1{% for column in columns %} or {{ column }} is null{% endfor %}
{%- else %}
select count(*) as row_count
from {{ model }}
having count(*) <> 1
{%- endif %}
{% endtest %}
