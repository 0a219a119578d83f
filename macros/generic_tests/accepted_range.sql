{# Values that are not null lie between the bounds, both included. #}
{% test accepted_range(model, column_name, min_value=none, max_value=none, arguments={}) %}
{%- set min_value = arguments.get('min_value', min_value) %}
{%- set max_value = arguments.get('max_value', max_value) %}
select {{ column_name }}
from {{ model }}
where
    1 = 0
    {%- if min_value is not none %}
    or {{ column_name }} < {{ min_value }}
    {%- endif %}
    {%- if max_value is not none %}
    or {{ column_name }} > {{ max_value }}
    {%- endif %}
{% endtest %}
