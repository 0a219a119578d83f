-- Grain: one row, only if carted value is not the bought part plus the abandoned part, summed from the events again.
with first_additions as (

    select
        session_events.session_id,
        session_events.item_id,
        min(session_events.event_number) as event_number
    from {{ ref('int_session_events') }} as session_events
    inner join {{ ref('session_funnels') }} as funnels on session_events.session_id = funnels.session_id
    where session_events.event_type = 'addtocart'
    group by session_events.session_id, session_events.item_id

),

bought as (

    select distinct
        session_id,
        item_id
    from {{ ref('int_session_events') }}
    where event_type = 'transaction'

),

from_events as (

    select
        coalesce(sum(events.price), 0) as carted_value,
        coalesce(sum(case when bought.item_id is null then 0 else events.price end), 0) as bought_value
    from first_additions
    inner join {{ ref('int_session_events') }} as events
        on
            first_additions.session_id = events.session_id
            and first_additions.event_number = events.event_number
    left join bought
        on
            first_additions.session_id = bought.session_id
            and first_additions.item_id = bought.item_id

),

from_mart as (

    select
        sum(carted_value) as carted_value,
        sum(abandoned_value) as abandoned_value
    from {{ ref('session_funnels') }}

)

select
    from_events.carted_value as expected_carted_value,
    from_mart.carted_value,
    from_events.bought_value,
    from_mart.abandoned_value
from from_events
cross join from_mart
where
    from_events.carted_value <> from_mart.carted_value
    or from_events.carted_value <> from_events.bought_value + from_mart.abandoned_value
