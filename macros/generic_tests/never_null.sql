{# None of these columns is ever null: one scan for all of them. #}
{% test never_null(model, columns=none, arguments={}) %}
{%- set columns = arguments.get('columns', columns) %}
select {{ columns | join(', ') }}
from {{ model }}
where {% for column in columns %}{{ column }} is null{% if not loop.last %} or {% endif %}{% endfor %}
{% endtest %}
