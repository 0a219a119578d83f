-- Every event with all that is known of it and of its place: what the other models read.
with events as (

    select * from {{ ref('int_events') }}

),

places as (

    select * from {{ ref('int_event_places') }}

),

bounds as (

    select * from {{ ref('int_session_bounds') }}

),

event_items as (

    select * from {{ ref('int_event_items') }}

),

repeats as (

    select * from {{ ref('int_event_repeats') }}

)

select
    events.event_key,
    places.session_key,
    event_items.item_key,
    bounds.session_id,
    events.visitor_id,
    events.item_id,
    events.transaction_id,
    event_items.category_id,
    events.event_type,
    events.event_rank,
    bounds.session_number,
    bounds.prior_events + events.event_key - bounds.first_event_key + 1 as visitor_event_number,
    events.event_key - bounds.first_event_key + 1 as event_number,
    coalesce(repeats.item_prior_views, 0) as item_prior_views,
    event_items.price,
    event_items.item_is_available,
    places.is_first_in_session,
    places.is_last_in_session,
    case when repeats.item_session_events > 0 then 0 else 1 end as is_new_item,
    case when event_items.category_id is null then 0 else coalesce(repeats.is_new_category, 1) end as is_new_category,
    case when events.event_type = 'view' and repeats.item_session_views > 0 then 1 else 0 end as is_repeat_view,
    case
        when events.event_type <> 'addtocart' or repeats.item_session_carts > 0 then 0
        else 1
    end as is_first_addtocart,
    places.previous_event_ms,
    events.event_ms,
    events.event_at
from events
inner join places on events.event_key = places.event_key
inner join bounds on places.session_key = bounds.session_key
inner join event_items on events.event_key = event_items.event_key
left join repeats on events.event_key = repeats.event_key
