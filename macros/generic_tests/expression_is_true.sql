{# The expression holds on every row; null counts as a failure. #}
{% test expression_is_true(model, expression=none, arguments={}) %}
{%- set expression = arguments.get('expression', expression) %}
select *
from {{ model }}
where not coalesce({{ expression }}, false)
{% endtest %}
