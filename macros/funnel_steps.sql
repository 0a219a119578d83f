{# The step's place in the funnel, from 1; ties in time are broken by it. #}
{% macro step_rank(event_type) -%}
    case {{ event_type }}
    {%- for step in var('funnel_steps') %} when '{{ step }}' then {{ loop.index }}{% endfor %} end
{%- endmacro %}

{# The one order of a visitor's events: time, step, then what is left to tell two events apart. #}
{% macro event_order() -%}
    event_ms, event_rank, item_id, coalesce(transaction_id, ''), coalesce(own_price, -1), coalesce(own_category_id, '')
{%- endmacro %}
