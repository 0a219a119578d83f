{# No two rows share these columns' values. #}
{% test unique_combination(model, columns=none, arguments={}) %}
{%- set columns = arguments.get('columns', columns) %}
select
    {{ sorted_groups_of(model, columns) }}
    {{ columns | join(', ') }}
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
