-- One aggregate over the events serves sessions, session_funnels and the visitor history.
with events as (

    select
        *,
        -- An order that was counted before is an event of the session, but no step.
        case when is_repeated_order = 0 then event_rank end as step_rank
    from {{ touched(ref('int_session_events')) }}

),

summed as (

    select
        session_key,
        visitor_key,
        count(*) as event_count,
        {{ to_bigint('sum(is_new_item)') }} as distinct_items,
        {{ to_bigint('sum(cart_item_change)') }} as cart_items,
        {%- for step in var('funnel_steps') %}
        {{ to_bigint("sum(case when step_rank = " ~ loop.index ~ " then 1 else 0 end)") }} as {{ step }}_count,
        min(case when step_rank = {{ loop.index }} then event_number end) as first_{{ step }}_number,
        min(case when step_rank = {{ loop.index }} then event_ms end) as first_{{ step }}_ms,
        {%- endfor %}
        max(case when step_rank = {{ var('funnel_steps').index('addtocart') + 1 }} then event_ms end) as last_addtocart_ms,
        max(case when step_rank = {{ var('funnel_steps').index('transaction') + 1 }} then event_ms end)
            as last_transaction_ms,
        max(case when is_first_in_session = 1 then item_key end) as entry_item_key,
        max(case when is_first_in_session = 1 then category_id end) as entry_category_id,
        max(case when is_last_in_session = 1 then category_id end) as last_category_id,
        min(event_ms) as started_ms,
        max(event_ms) as ended_ms
    from events
    group by session_key, visitor_key

)

select
    bounds.session_key,
    bounds.visitor_key,
    bounds.first_event_key,
    bounds.session_id,
    bounds.visitor_id,
    items.item_id as entry_item_id,
    summed.entry_category_id,
    summed.last_category_id,
    bounds.session_number,
    summed.event_count,
    summed.distinct_items,
    summed.cart_items,
    {%- for step in var('funnel_steps') %}
    summed.{{ step }}_count,
    summed.first_{{ step }}_number,
    summed.first_{{ step }}_ms,
    {%- endfor %}
    bounds.is_only_session,
    summed.last_addtocart_ms,
    summed.last_transaction_ms,
    summed.started_ms,
    summed.ended_ms
from summed
inner join {{ ref('int_session_bounds') }} as bounds
    on
        summed.visitor_key = bounds.visitor_key
        and summed.session_key = bounds.session_key
inner join {{ ref('int_items') }} as items on summed.entry_item_key = items.item_key
