-- Part of int_events and int_clock, which alone read it: no engine copies the events once more, and MySQL and MariaDB
-- give the texts of a view another collation.
{{ config(materialized='ephemeral') }}
select
    visitorid as visitor_id,
    itemid as item_id,
    transactionid as transaction_id,
    categoryid as own_category_id,
    event as event_type,
    price as own_price,
    timestamp as event_ms
from {{ optional_source('raw_events', {
    'timestamp': to_bigint, 'visitorid': to_short_text, 'event': to_short_text, 'itemid': to_short_text,
    'transactionid': to_short_text, 'price': to_money, 'categoryid': to_short_text,
}) }} as raw_events
