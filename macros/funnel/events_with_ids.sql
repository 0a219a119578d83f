{# The events of int_session_events with the ids that people know them by, for analyses. #}
{% macro events_with_ids() -%}
    select
        session_events.*,
        bounds.session_id,
        bounds.visitor_id,
        bounds.session_number,
        items.item_id
    from {{ ref('int_session_events') }} as session_events
    inner join {{ ref('int_session_bounds') }} as bounds on session_events.session_key = bounds.session_key
    inner join {{ ref('int_items') }} as items on session_events.item_key = items.item_key
{%- endmacro %}
