{# The step's place in the funnel, from 1; ties in time are broken by it. #}
{% macro step_rank(event_type) -%}
    case {{ event_type }}
    {%- for step in var('funnel_steps') %} when '{{ step }}' then {{ loop.index }}{% endfor %} end
{%- endmacro %}

{# The one order of all events: visitor, time, step, then what is left to tell two events apart. #}
{% macro event_order() -%}
    visitor_id, event_ms, event_rank, item_id,
    {{- ' ' ~ nulls_first('transaction_id') }}, {{ nulls_first('own_price') }}, {{ nulls_first('own_category_id') }}, event_type
{%- endmacro %}
