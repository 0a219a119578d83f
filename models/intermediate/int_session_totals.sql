-- One aggregate over the events serves sessions, session_funnels and the visitor history.
with events as (

    select * from {{ ref('int_session_events') }}

)

select
    session_id,
    visitor_id,
    max(case when is_first_in_session = 1 then item_id end) as entry_item_id,
    max(case when is_first_in_session = 1 then category_id end) as entry_category_id,
    max(case when is_last_in_session = 1 then category_id end) as last_category_id,
    session_number,
    count(*) as event_count,
    {{ to_bigint('sum(is_new_item)') }} as distinct_items,
    {%- for step in var('funnel_steps') %}
    {{ to_bigint("sum(case when event_type = '" ~ step ~ "' then 1 else 0 end)") }} as {{ step }}_count,
    min(case when event_type = '{{ step }}' then event_number end) as first_{{ step }}_number,
    min(case when event_type = '{{ step }}' then event_ms end) as first_{{ step }}_ms,
    {%- endfor %}
    max(case when event_type = 'addtocart' then event_ms end) as last_addtocart_ms,
    max(case when event_type = 'transaction' then event_ms end) as last_transaction_ms,
    min(event_ms) as started_ms,
    max(event_ms) as ended_ms
from events
group by session_id, visitor_id, session_number
