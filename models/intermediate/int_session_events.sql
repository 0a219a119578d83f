-- Every event with all that is known of it and of its place: what the other models read.
{%- set amount = to_money('cast(event_items.price as decimal(28, 4)) * events.quantity') %}
{%- set addition = var('funnel_steps').index('addtocart') + 1 %}
{%- set is_first_addition = 'events.event_rank = ' ~ addition ~ ' and coalesce(repeats.item_session_carts, 0) = 0' %}
with events as (

    select * from {{ touched(ref('int_events')) }}

)

select
    events.event_key,
    events.visitor_key,
    places.session_key,
    events.item_key,
    events.transaction_id,
    event_items.category_id,
    {{ event_kind('events.event_rank') }} as event_type,
    events.event_rank,
    {{ number_of('events.event_key', 'events.visitor_key') }} as visitor_event_number,
    events.event_key - bounds.first_event_key + 1 as event_number,
    coalesce(repeats.item_prior_views, 0) as item_prior_views,
    event_items.price,
    case
        when events.quantity is null then event_items.price
        else {{ amount }}
    end as amount,
    case
        when cart_changes.event_key is not null then cart_changes.value_change
        when {{ is_first_addition }}
            then case when events.quantity is null then event_items.price else {{ amount }} end
    end as cart_value_change,
    event_items.item_is_available,
    event_items.is_repeated_order,
    case when events.event_id is null then 0 else 1 end as has_event_id,
    places.is_first_in_session,
    places.is_last_in_session,
    case when repeats.item_session_events > 0 then 0 else 1 end as is_new_item,
    case when event_items.category_id is null then 0 else coalesce(repeats.is_new_category, 1) end as is_new_category,
    case
        when events.event_rank = {{ var('funnel_steps').index('view') + 1 }} and repeats.item_session_views > 0 then 1
        else 0
    end as is_repeat_view,
    case
        when cart_changes.event_key is not null then cart_changes.item_change
        when {{ is_first_addition }} then 1
        else 0
    end as cart_item_change,
    places.previous_event_ms,
    events.event_ms
from events
inner join {{ ref('int_event_places') }} as places
    on
        events.visitor_key = places.visitor_key
        and events.event_key = places.event_key
inner join {{ ref('int_session_bounds') }} as bounds
    on
        places.visitor_key = bounds.visitor_key
        and places.session_key = bounds.session_key
inner join {{ ref('int_event_items') }} as event_items
    on
        events.visitor_key = event_items.visitor_key
        and events.event_key = event_items.event_key
left join {{ ref('int_event_repeats') }} as repeats
    on
        events.visitor_key = repeats.visitor_key
        and events.event_key = repeats.event_key
left join {{ ref('int_cart_changes') }} as cart_changes
    on
        events.visitor_key = cart_changes.visitor_key
        and events.event_key = cart_changes.event_key
