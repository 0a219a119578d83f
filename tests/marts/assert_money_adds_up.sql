-- Grain: one row, only if carted value is not the bought part plus the abandoned part, summed from the events again.
with events as (

    select *
    from {{ looked_at(ref('int_session_events')) }}
    {%- if var('exclude_bots') %}
    where visitor_key not in (select bots.visitor_key from {{ ref('int_bot_visitors') }} as bots)
    {%- endif %}

),

bought as (

    select distinct
        session_key,
        item_key
    from events
    where event_type = 'transaction' and is_repeated_order = 0

),

from_events as (

    select
        coalesce(sum(events.cart_value_change), 0) as carted_value,
        coalesce(sum(case when bought.item_key is null then 0 else events.cart_value_change end), 0) as bought_value
    from events
    left join bought
        on
            events.session_key = bought.session_key
            and events.item_key = bought.item_key

),

from_mart as (

    select
        coalesce(sum(carted_value), 0) as carted_value,
        coalesce(sum(abandoned_value), 0) as abandoned_value
    from {{ looked_at(ref('session_funnels'), 'visitor_id') }}

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
