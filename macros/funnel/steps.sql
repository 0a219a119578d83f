{# What an event may be: a step, at its place in the funnel, or one of the kinds behind them that are no step. #}
{% macro event_kinds() %}{{ return(var('funnel_steps') + ['removefromcart']) }}{% endmacro %}

{# The kind's place, from 1; ties in time are broken by it. #}
{% macro event_rank(event_type) -%}
    case {{ event_type }}
    {%- for kind in event_kinds() %} when '{{ kind }}' then {{ loop.index }}{% endfor %} end
{%- endmacro %}

{# The kind of event at a place. #}
{% macro event_kind(rank) -%}
    case {{ rank }}
    {%- for kind in event_kinds() %} when {{ loop.index }} then '{{ kind }}'{% endfor %} end
{%- endmacro %}

{# The step at a place in the funnel; null behind the last one. #}
{% macro step_name(step_number) -%}
    case {{ step_number }}
    {%- for step in var('funnel_steps') %} when {{ loop.index }} then '{{ step }}'{% endfor %} end
{%- endmacro %}

{# What is_new_visitor is called where people read it. #}
{% macro visitor_type() %}case when is_new_visitor = 1 then 'new' else 'returning' end{% endmacro %}

{# The order of a visitor's events: time, step, then what is left to tell two events apart. #}
{% macro event_order() -%}
    event_ms, event_rank, item_id,
    {{- ' ' ~ nulls_first('transaction_id') }}, {{ nulls_first('own_price') }}, {{ nulls_first('quantity') }}, {{ nulls_first('own_category_id') }},
    {{- ' ' ~ nulls_first('event_id') }}
{%- endmacro %}

{# Pairs of steps whose time between is kept: neighbours in the funnel, and the two that every funnel has. #}
{% macro step_pairs() %}
    {% set steps = var('funnel_steps') %}
    {% set pairs = [] %}
    {% for step in steps[1:] %}{% do pairs.append((steps[loop.index0], step)) %}{% endfor %}
    {% for pair in [('view', 'addtocart'), ('addtocart', 'transaction')] if pair not in pairs %}
        {% do pairs.append(pair) %}
    {% endfor %}
    {{ return(pairs) }}
{% endmacro %}

{# Column that holds the seconds between two steps; addtocart is called cart in it, e.g. view_to_cart_seconds. #}
{% macro seconds_column(pair) -%}
    {{ (pair[0] ~ '_to_' ~ pair[1] ~ '_seconds') | replace('addtocart', 'cart') }}
{%- endmacro %}

{# Seconds between a session's first events of two steps, of int_session_totals; null unless they came in that order. #}
{% macro seconds_between(pair) -%}
    case
        when session_totals.first_{{ pair[0] }}_number < session_totals.first_{{ pair[1] }}_number
            then {{ to_double('session_totals.first_' ~ pair[1] ~ '_ms - session_totals.first_' ~ pair[0] ~ '_ms') }} / 1000
    end
{%- endmacro %}

{# 1 when a session's timeout has passed by the data's own clock, the one row of int_clock. #}
{% macro is_closed(ended_ms) -%}
    case when {{ ended_ms }} + {{ var('session_timeout_seconds') }} * 1000 < clock.high_water_mark_ms then 1 else 0 end
{%- endmacro %}
