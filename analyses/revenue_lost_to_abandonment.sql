-- Question: how much is left in carts, by whom, where and when, and how sure can we be of it?
-- Grain: one row per breakdown (all, visitor_type, category, weekday, hour, day) and value.
-- Run: dbt show --select revenue_lost_to_abandonment --limit -1 --output json   (other ways: docs/analyses.md)
--
-- An item is abandoned when a session put it in the cart, left it there and did not buy it in the same session. It is worth its price
-- (property 790, var price_property, or the event's own) times a told quantity, when it first went into that cart, once
-- per session.
--   leaving_sessions  = sessions that abandoned at least one item, with or without buying another
--   abandoned_value   = left by sessions that bought nothing + left beside a purchase (the two columns after it)
--   recovered_value   = the part of it that the same visitor bought in a later session: late, not lost
--   abandoned_share   = abandoned_value over carted_value
-- Honest limits: an item without a known price counts 0 (see priced_share: with a low one every value here is too
-- low, and with none it is 0 or null because nobody knows, not because nothing was lost). An item
-- left in two sessions counts twice, and a purchase after the last day loaded is not seen, so recovered_value is too low
-- near the end.
{%- set breakdowns = {
    'all': 'whole_shop', 'visitor_type': 'visitor_type', 'category': 'category', 'weekday': 'weekday',
    'hour': 'started_hour', 'day': 'started_day',
} %}
{%- set counts = [
    'sessions', 'cart_sessions', 'leaving_sessions', 'carted_items', 'abandoned_items', 'priced_carted_items',
    'priced_abandoned_items', 'recovered_items',
] %}
{%- set values = ['carted_value', 'abandoned_value', 'left_without_purchase', 'left_beside_purchase', 'recovered_value'] %}
with events as (

    {{ events_with_ids() }}

),

bought_in_session as (

    select distinct
        session_id,
        item_id
    from events
    where event_type = 'transaction' and is_repeated_order = 0

),

last_purchases as (

    select
        visitor_id,
        item_id,
        max(session_number) as session_number
    from events
    where event_type = 'transaction' and is_repeated_order = 0
    group by visitor_id, item_id

),

-- What is in a cart when its session ends, or was bought out of it; who took an item out again has not left it.
cart_items as (

    select
        session_id,
        visitor_id,
        session_number,
        item_id,
        sum(cart_value_change) as amount
    from events
    where event_type in ('addtocart', 'removefromcart')
    group by session_id, visitor_id, session_number, item_id
    having sum(cart_item_change) > 0

),

carted as (

    select
        cart_items.session_id,
        cart_items.amount,
        case when bought_in_session.item_id is null then 1 else 0 end as is_abandoned,
        case
            when bought_in_session.item_id is null and last_purchases.session_number > cart_items.session_number then 1
            else 0
        end as is_recovered
    from cart_items
    left join bought_in_session
        on
            cart_items.session_id = bought_in_session.session_id
            and cart_items.item_id = bought_in_session.item_id
    left join last_purchases
        on
            cart_items.visitor_id = last_purchases.visitor_id
            and cart_items.item_id = last_purchases.item_id

),

carts as (

    select
        session_id,
        count(*) as carted_items,
        count(amount) as priced_carted_items,
        sum(is_abandoned) as abandoned_items,
        sum(case when amount is not null then is_abandoned else 0 end) as priced_abandoned_items,
        sum(is_recovered) as recovered_items,
        sum(is_recovered * amount) as recovered_value
    from carted
    group by session_id

),

session_rows as (

    select
        'all' as whole_shop,
        case when sessions.is_new_visitor = 1 then 'new' else 'returning' end as visitor_type,
        coalesce(sessions.entry_root_category_id, 'unknown') as category,
        {{ to_text(weekday(local_day_number('sessions.started_ms'))) }} as weekday,
        lpad({{ to_text(local_hour('sessions.started_ms')) }}, 2, '0') as started_hour,
        {{ to_text('sessions.started_date') }} as started_day,
        1 as sessions,
        funnels.has_addtocart as cart_sessions,
        case when carts.abandoned_items > 0 then 1 else 0 end as leaving_sessions,
        carts.carted_items,
        carts.priced_carted_items,
        carts.abandoned_items,
        carts.priced_abandoned_items,
        carts.recovered_items,
        carts.recovered_value,
        funnels.carted_value,
        funnels.abandoned_value,
        case when funnels.has_transaction = 0 then funnels.abandoned_value end as left_without_purchase,
        case when funnels.has_transaction = 1 then funnels.abandoned_value end as left_beside_purchase
    from {{ ref('session_funnels') }} as funnels
    inner join {{ ref('sessions') }} as sessions on funnels.session_id = sessions.session_id
    left join carts on funnels.session_id = carts.session_id

),

totals as (

    {%- for breakdown, column in breakdowns.items() %}
    select
        '{{ breakdown }}' as breakdown,
        {{ column }} as breakdown_value,
        {%- for count in counts %}
        {{ to_bigint('coalesce(sum(' ~ count ~ '), 0)') }} as {{ count }},
        {%- endfor %}
        {%- for value in values %}
        {{ to_money('coalesce(sum(' ~ value ~ '), 0)') }} as {{ value }},
        {%- endfor %}
        {{ loop.index }} as breakdown_number
    from session_rows
    group by {{ column }}
    {% if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

)

select
    totals.breakdown,
    totals.breakdown_value,
    totals.sessions,
    totals.cart_sessions,
    totals.leaving_sessions,
    totals.carted_value,
    totals.abandoned_value,
    totals.left_without_purchase,
    totals.left_beside_purchase,
    totals.recovered_value,
    {{ ratio('totals.abandoned_value', 'totals.carted_value') }} as abandoned_share,
    {{ ratio('totals.abandoned_value', 'shop.abandoned_value') }} as share_of_shop,
    totals.carted_items,
    totals.abandoned_items,
    totals.recovered_items,
    totals.carted_items - totals.priced_carted_items as carted_items_without_price,
    totals.abandoned_items - totals.priced_abandoned_items as abandoned_items_without_price,
    {{ ratio('totals.priced_abandoned_items', 'totals.abandoned_items') }} as priced_share
from totals
cross join totals as shop
where shop.breakdown = 'all'
order by totals.breakdown_number, totals.breakdown_value
