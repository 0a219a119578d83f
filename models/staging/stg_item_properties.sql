-- The three properties that models use; of two values with one timestamp the greater text wins, on every engine.
with source as (

    select
        itemid as item_id,
        property,
        timestamp as known_from_ms,
        max(value) as property_value
    from {{ optional_source('raw_item_properties', {
        'timestamp': 'bigint', 'itemid': 'varchar', 'property': 'varchar', 'value': 'varchar',
    }) }} as raw_item_properties
    where
        property in ('{{ var("price_property") }}', '{{ var("category_property") }}', '{{ var("availability_property") }}')
        and value is not null
    group by itemid, property, timestamp

)

select
    item_id,
    property,
    property_value,
    known_from_ms
from source
