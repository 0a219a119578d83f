-- What was known of an event's item at that moment, and whether the event only repeats an order.
with events as (

    select * from {{ touched(ref('int_events')) }}

),

attributes as (

    select * from {{ ref('int_item_attributes') }}

)

select
    events.event_key,
    events.visitor_key,
    events.item_key,
    coalesce(events.own_category_id, attributes.category_id) as category_id,
    events.event_rank,
    coalesce(events.own_price, attributes.price) as price,
    attributes.is_available as item_is_available,
    case when repeats.event_key is null then 0 else 1 end as is_repeated_order,
    events.event_ms
from events
left join attributes
    on
        events.item_key = attributes.item_key
        and events.event_ms >= attributes.valid_from_ms
        and events.event_ms < attributes.valid_to_ms
-- Only a transaction looks its repeat up.
left join {{ ref('int_order_repeats') }} as repeats
    on
        events.visitor_key = repeats.visitor_key
        and case when events.event_rank = {{ var('funnel_steps').index('transaction') + 1 }} then events.event_key end
        = repeats.event_key
