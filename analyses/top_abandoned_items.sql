-- Question: which items carry most of the value that carts leave behind?
-- Grain: one row per item, the 50 with the most abandoned value.
-- Run: dbt show --select top_abandoned_items --limit -1 --output json   (other ways: docs/analyses.md)
--
-- A cart is a session that put the item in the cart and left it there; the item is abandoned there when the session did not buy it. Its
-- value is its price, times a told quantity, when it first went into that cart. carts_without_price were left at an
-- unknown price and count 0, so a dear item without a price stands too low. recovered_carts were followed by a purchase
-- of the item by the same visitor in a later session.
{%- set top = 50 %}
with sessions as (

    select session_id from {{ ref('sessions') }}

),

events as (

    {{ events_with_ids() }}
    inner join sessions on bounds.session_id = sessions.session_id

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
        cart_items.item_id,
        cart_items.visitor_id,
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

items as (

    select
        item_id,
        count(*) as carts,
        sum(is_abandoned) as abandoned_carts,
        count(distinct case when is_abandoned = 1 then visitor_id end) as abandoning_visitors,
        sum(is_recovered) as recovered_carts,
        sum(case when is_abandoned = 1 and amount is null then 1 else 0 end) as carts_without_price,
        {{ to_money('coalesce(sum(is_abandoned * amount), 0)') }} as abandoned_value
    from carted
    group by item_id

),

ranked as (

    select
        *,
        row_number() over (order by abandoned_value desc, abandoned_carts desc, item_id asc) as place
    from items
    where abandoned_carts > 0

),

-- A frame for the sums alone: not every engine lets row_number share a window that has one.
summed as (

    select
        *,
        sum(abandoned_value) over (order by place rows between unbounded preceding and current row) as running_value,
        sum(abandoned_value) over () as shop_value
    from ranked

)

select
    place,
    item_id,
    abandoned_value,
    {{ ratio('abandoned_value', 'shop_value') }} as share_of_shop,
    {{ ratio('running_value', 'shop_value') }} as running_share,
    carts,
    {{ to_bigint('abandoned_carts') }} as abandoned_carts,
    {{ ratio('abandoned_carts', 'carts') }} as abandonment_rate,
    abandoning_visitors,
    {{ to_bigint('recovered_carts') }} as recovered_carts,
    {{ to_bigint('carts_without_price') }} as carts_without_price
from summed
where place <= {{ top }}
order by place
