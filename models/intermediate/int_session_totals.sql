-- One aggregate over the events serves sessions, session_funnels and the visitor history.
with events as (

    select * from {{ ref('int_session_events') }}

),

totals as (

    select
        session_id,
        visitor_id,
        session_number,
        count(*) as event_count,
        count(distinct item_id) as distinct_items,
        {%- for step in var('funnel_steps') %}
        sum(case when event_type = '{{ step }}' then 1 else 0 end) as {{ step }}_count,
        min(case when event_type = '{{ step }}' then event_number end) as first_{{ step }}_number,
        min(case when event_type = '{{ step }}' then event_ms end) as first_{{ step }}_ms,
        {%- endfor %}
        max(case when event_type = 'addtocart' then event_ms end) as last_addtocart_ms,
        max(case when event_type = 'transaction' then event_ms end) as last_transaction_ms,
        max(case when event_number = 1 then item_id end) as entry_item_id,
        max(case when event_number = 1 then category_id end) as entry_category_id,
        min(event_ms) as started_ms,
        max(event_ms) as ended_ms
    from events
    group by session_id, visitor_id, session_number

),

last_events as (

    select
        events.session_id,
        events.category_id as last_category_id
    from events
    inner join totals
        on
            events.session_id = totals.session_id
            and events.event_number = totals.event_count

)

select
    totals.session_id,
    totals.visitor_id,
    totals.entry_item_id,
    totals.entry_category_id,
    last_events.last_category_id,
    totals.session_number,
    {%- for step in var('funnel_steps') %}
    {{ to_bigint('totals.' ~ step ~ '_count') }} as {{ step }}_count,
    totals.first_{{ step }}_number,
    totals.first_{{ step }}_ms,
    {%- endfor %}
    totals.event_count,
    totals.distinct_items,
    totals.last_addtocart_ms,
    totals.last_transaction_ms,
    totals.started_ms,
    totals.ended_ms
from totals
inner join last_events on totals.session_id = last_events.session_id
