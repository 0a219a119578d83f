-- The three properties that models use. Of two values with one timestamp the greater text wins, on every engine, where
-- they are read. A price, category or availability of more than 128 characters is none.
{{ config(materialized='ephemeral') }}
select
    itemid as item_id,
    property,
    {{ to_short_text('value') }} as property_value,
    timestamp as known_from_ms,
    load_number
from {{ optional_source('raw_item_properties', {
    'timestamp': to_bigint, 'itemid': to_short_text, 'property': to_text, 'value': to_text, 'load_number': to_bigint,
}) }} as raw_item_properties
where
    property in ('{{ var("price_property") }}', '{{ var("category_property") }}', '{{ var("availability_property") }}')
    and char_length(value) <= 128
