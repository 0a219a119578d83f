{# None of these columns is ever below 0: one scan for all of them. #}
{% test never_negative(model, columns=none, arguments={}) %}
{%- set columns = arguments.get('columns', columns) %}
select {{ columns | join(', ') }}
from {{ model }}
where {% for column in columns %}{{ column }} < 0{% if not loop.last %} or {% endif %}{% endfor %}
{% endtest %}
