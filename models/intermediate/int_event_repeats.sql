-- How often the visitor, and the session, met the event's item and category before. An event that is its visitor's only
-- one has met nothing and has no row.
with places as (

    select * from {{ touched(ref('int_event_places')) }}

),

event_items as (

    select * from {{ ref('int_event_items') }}

),

events as (

    select
        places.event_key,
        places.session_key,
        places.visitor_key,
        event_items.item_key,
        event_items.category_id,
        case when event_items.event_rank = {{ var('funnel_steps').index('view') + 1 }} then 1 else 0 end as is_view,
        case when event_items.event_rank = {{ var('funnel_steps').index('addtocart') + 1 }} then 1 else 0 end as is_addtocart
    from places
    inner join event_items
        on
            places.visitor_key = event_items.visitor_key
            and places.event_key = event_items.event_key
    where places.is_first_of_visitor = 0 or places.is_last_of_visitor = 0

),

on_items as (

    select
        event_key,
        visitor_key,
        (sum(is_view) over by_visitor) - is_view as item_prior_views,
        (sum(1) over by_session) - 1 as item_session_events,
        (sum(is_view) over by_session) - is_view as item_session_views,
        (sum(is_addtocart) over by_session) - is_addtocart as item_session_carts
    from events
    window
        by_visitor as (
            partition by visitor_key, item_key
            order by event_key rows between unbounded preceding and current row
        ),
        by_session as (
            partition by session_key, item_key
            order by event_key rows between unbounded preceding and current row
        )

),

-- The first event of a category in a session of more than one event; in the others every category is new.
first_of_categories as (

    select
        {{ sorted_groups() }}
        session_key,
        min(event_key) as event_key
    from events
    where category_id is not null
    group by session_key, category_id

)

select
    on_items.event_key,
    on_items.visitor_key,
    {{ to_bigint('on_items.item_prior_views') }} as item_prior_views,
    {{ to_bigint('on_items.item_session_events') }} as item_session_events,
    {{ to_bigint('on_items.item_session_views') }} as item_session_views,
    {{ to_bigint('on_items.item_session_carts') }} as item_session_carts,
    case when first_of_categories.event_key is null then 0 else 1 end as is_new_category
from on_items
left join first_of_categories on on_items.event_key = first_of_categories.event_key
