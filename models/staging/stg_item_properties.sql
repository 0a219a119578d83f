-- The three properties that models use; of two values with one timestamp the greater text wins, on every engine.
-- A price, category or availability of more than 128 characters is none.
with source as (

    select
        itemid as item_id,
        property,
        {{ to_short_text('value') }} as property_value,
        timestamp as known_from_ms
    from {{ optional_source('raw_item_properties', {
        'timestamp': to_bigint, 'itemid': to_short_text, 'property': to_text, 'value': to_text,
    }) }} as raw_item_properties
    where
        property in ('{{ var("price_property") }}', '{{ var("category_property") }}', '{{ var("availability_property") }}')
        and char_length(value) <= 128

)

select
    {{ sorted_groups() }}
    item_id,
    property,
    max(property_value) as property_value,
    known_from_ms
from source
group by item_id, property, known_from_ms
