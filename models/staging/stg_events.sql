-- Exact duplicates (every field equal) are one event that was written twice; everything else is kept.
-- event_key is the place in the one order of all events, so that a visitor's neighbouring events have neighbouring keys.
{{ raw_events_check() }}
with source as (

    select
        timestamp as event_ms,
        visitorid as visitor_id,
        event as event_type,
        {{ to_integer(step_rank('event')) }} as event_rank,
        itemid as item_id,
        transactionid as transaction_id,
        price as own_price,
        categoryid as own_category_id
    from {{ optional_source('raw_events', {
        'timestamp': to_bigint, 'visitorid': to_short_text, 'event': to_short_text, 'itemid': to_short_text,
        'transactionid': to_short_text, 'price': to_money, 'categoryid': to_short_text,
    }) }} as raw_events

)

select
    {{ sorted_groups() }}
    {{ row_key('event_key', event_order()) }}
    visitor_id,
    item_id,
    transaction_id,
    own_category_id,
    event_type,
    event_rank,
    own_price,
    event_ms,
    {{ ms_to_timestamp('event_ms') }} as event_at
from source
group by visitor_id, event_ms, event_rank, item_id, transaction_id, own_price, own_category_id, event_type
{{ row_key_order(event_order()) }}
