{# These columns hold 0, 1 or null: one scan for all of them. #}
{% test zero_or_one(model, columns=none, arguments={}) %}
{%- set columns = arguments.get('columns', columns) %}
select {{ columns | join(', ') }}
from {{ model }}
where {% for column in columns %}{{ column }} not in (0, 1){% if not loop.last %} or {% endif %}{% endfor %}
{% endtest %}
