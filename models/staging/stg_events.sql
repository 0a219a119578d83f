-- Exact duplicates (every field equal) are one event that was written twice; everything else is kept.
{{ raw_events_check() }}
with source as (

    select distinct
        timestamp as event_ms,
        visitorid as visitor_id,
        event as event_type,
        itemid as item_id,
        transactionid as transaction_id,
        price as own_price,
        categoryid as own_category_id
    from {{ optional_source('raw_events', {
        'timestamp': 'bigint', 'visitorid': 'varchar', 'event': 'varchar', 'itemid': 'varchar',
        'transactionid': 'varchar', 'price': 'decimal(18, 4)', 'categoryid': 'varchar',
    }) }} as raw_events

)

select
    visitor_id,
    item_id,
    transaction_id,
    own_category_id,
    event_type,
    {{ to_integer(step_rank('event_type')) }} as event_rank,
    own_price,
    event_ms,
    {{ ms_to_timestamp('event_ms') }} as event_at
from source
