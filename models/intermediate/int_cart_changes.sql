-- What additions and removals did to a cart, for items of which a session took something out again. Few; what an item that
-- stays in the cart adds to it is known from its first addition (int_session_events).
{%- set kinds = event_kinds() %}
{%- set addition, removal = kinds.index('addtocart') + 1, kinds.index('removefromcart') + 1 %}
{%- set purchase = kinds.index('transaction') + 1 %}
{%- set by_item = 'partition by session_key, item_key order by event_key' %}
{%- set so_far = by_item ~ ' rows between unbounded preceding and current row' %}
{%- set everything = '100000000000000' %}
with removed as (

    select distinct
        events.visitor_key,
        places.session_key,
        events.item_key
    from {{ touched(ref('int_events'), alias='events') }}
    inner join {{ ref('int_event_places') }} as places
        on
            events.visitor_key = places.visitor_key
            and events.event_key = places.event_key
    where events.event_rank = {{ removal }}

),

moves as (

    select
        removed.session_key,
        removed.item_key,
        events.event_key,
        events.visitor_key,
        events.event_rank,
        event_items.price,
        {{ to_money('case when events.event_rank = ' ~ addition ~ ' then coalesce(events.quantity, 1) else 0 end') }} as units_in,
        -- What was bought is taken out by the order itself, not by what the shop clears away after it.
        sum(case when events.event_rank = {{ purchase }} then 1 else 0 end) over (
            partition by removed.session_key, removed.item_key
            order by events.event_key rows between unbounded preceding and current row
        ) as purchases_so_far,
        cast(coalesce(events.quantity, {{ everything }}) as decimal(28, 4)) as units_named
    from removed
    inner join {{ ref('int_events') }} as events
        on
            removed.visitor_key = events.visitor_key
            and removed.item_key = events.item_key
    inner join {{ ref('int_event_places') }} as places
        on
            events.visitor_key = places.visitor_key
            and events.event_key = places.event_key
            and removed.session_key = places.session_key
    inner join {{ ref('int_event_items') }} as event_items
        on
            events.visitor_key = event_items.visitor_key
            and events.event_key = event_items.event_key
    where
        events.event_rank in ({{ addition }}, {{ removal }})
        or (events.event_rank = {{ purchase }} and event_items.is_repeated_order = 0)

),

removals as (

    select
        *,
        sum(case when event_rank = {{ removal }} and purchases_so_far = 0 then units_named else 0 end) over ({{ so_far }})
            as units_out
    from moves

),

-- An addition puts at least its units in; a removal takes its units out, down to none. So the units in the cart are the
-- most, over all moments so far, of those put in then less those taken out since.
filled as (

    select
        *,
        max(units_in + units_out) over ({{ so_far }}) - units_out as units
    from removals

),

compared as (

    select
        *,
        coalesce(lag(units) over ({{ by_item }}), 0) as units_before
    from filled

),

stays as (

    select
        *,
        case when units > 0 and units_before = 0 then 1 else 0 end as is_opening,
        sum(case when units > 0 and units_before = 0 then 1 else 0 end) over ({{ so_far }}) as stay_number
    from compared

),

-- A second addition adds nothing, as everywhere: the item is worth what put it into the cart, less what was taken out.
opened as (

    select
        *,
        max(case when is_opening = 1 then price end) over (partition by session_key, item_key, stay_number) as stay_price,
        max(case when is_opening = 1 then units_in end) over (partition by session_key, item_key, stay_number) as stay_units
    from stays

),

valued as (

    select
        *,
        {{ to_money('cast(stay_price as decimal(28, 4)) * cast(least(units, stay_units) as decimal(18, 4))') }} as worth
    from opened

),

changes as (

    select
        *,
        lag(worth) over ({{ by_item }}) as worth_before
    from valued

)

select
    event_key,
    visitor_key,
    {{ to_integer('case when units > 0 then 1 else 0 end - case when units_before > 0 then 1 else 0 end') }} as item_change,
    case
        when worth is not null or worth_before is not null
            then {{ to_money('coalesce(worth, 0) - coalesce(worth_before, 0)') }}
    end as value_change
from changes
where event_rank in ({{ addition }}, {{ removal }})
