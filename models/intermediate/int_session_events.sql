-- Sessions are cut here and nowhere else.
with events as (

    select * from {{ ref('stg_events') }}

),

attributes as (

    select * from {{ ref('int_item_attributes') }}

),

ordered as (

    select
        *,
        row_number() over in_order as visitor_event_number,
        lag(event_ms) over in_order as previous_ms,
        lead(event_ms) over in_order as next_ms
    from events
    window in_order as (partition by visitor_id order by {{ event_order() }})

),

cut as (

    select
        *,
        case
            when previous_ms is null or event_ms - previous_ms > {{ var('session_timeout_seconds') }} * 1000 then 1
            else 0
        end as is_first_in_session,
        case
            when next_ms is null or next_ms - event_ms > {{ var('session_timeout_seconds') }} * 1000 then 1
            else 0
        end as is_last_in_session
    from ordered

),

numbered as (

    select
        *,
        sum(is_first_in_session) over so_far as session_number,
        max(case when is_first_in_session = 1 then event_ms end) over so_far as session_started_ms,
        max(case when is_first_in_session = 1 then visitor_event_number end) over so_far as session_first_number
    from cut
    window so_far as (
        partition by visitor_id order by visitor_event_number rows between unbounded preceding and current row
    )

),

priced as (

    select
        numbered.*,
        coalesce(numbered.own_category_id, attributes.category_id) as category_id,
        coalesce(numbered.own_price, attributes.price) as price,
        attributes.is_available as item_is_available
    from numbered
    left join attributes
        on
            numbered.item_id = attributes.item_id
            and numbered.event_ms >= attributes.valid_from_ms
            and numbered.event_ms < attributes.valid_to_ms

),

-- In which session the visitor last met this item, and this category, before this event.
met_before as (

    select
        *,
        sum(case when event_type = 'view' then 1 else 0 end) over on_item as item_prior_views,
        max(session_number) over on_item as item_met_in_session,
        max(case when event_type = 'view' then session_number end) over on_item as item_viewed_in_session,
        max(case when event_type = 'addtocart' then session_number end) over on_item as item_carted_in_session,
        max(session_number) over in_category as category_met_in_session
    from priced
    window
        on_item as (
            partition by visitor_id, item_id
            order by visitor_event_number rows between unbounded preceding and 1 preceding
        ),
        in_category as (
            partition by visitor_id, category_id
            order by visitor_event_number rows between unbounded preceding and 1 preceding
        )

)

select
    {{ join_text(['visitor_id', "'-'", to_text('session_started_ms')]) }} as session_id,
    visitor_id,
    item_id,
    transaction_id,
    category_id,
    event_type,
    event_rank,
    {{ to_bigint('session_number') }} as session_number,
    visitor_event_number,
    visitor_event_number - session_first_number + 1 as event_number,
    {{ to_bigint('coalesce(item_prior_views, 0)') }} as item_prior_views,
    price,
    item_is_available,
    is_first_in_session,
    is_last_in_session,
    case when item_met_in_session = session_number then 0 else 1 end as is_new_item,
    case when category_id is null or category_met_in_session = session_number then 0 else 1 end as is_new_category,
    case when event_type = 'view' and item_viewed_in_session = session_number then 1 else 0 end as is_repeat_view,
    case
        when event_type <> 'addtocart' or item_carted_in_session = session_number then 0
        else 1
    end as is_first_addtocart,
    case when is_first_in_session = 0 then previous_ms end as previous_event_ms,
    event_ms,
    event_at
from met_before
