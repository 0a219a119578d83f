-- What sessions carted, left and paid, less what they got back. A session without a cart and a purchase has no row.
with events as (

    select *
    from {{ touched(ref('int_session_events')) }}
    where event_type in ('addtocart', 'removefromcart', 'transaction') and is_repeated_order = 0

),

purchased_items as (

    select distinct
        session_key,
        item_key
    from events
    where event_type = 'transaction'

),

-- A carted item is worth its price when it went into the cart; a second click on it adds nothing, and a removal takes it
-- out again.
cart_values as (

    select
        events.session_key,
        events.visitor_key,
        sum(events.cart_value_change) as carted_value,
        sum(case when purchased_items.item_key is null then events.cart_value_change end) as abandoned_value
    from events
    left join purchased_items
        on
            events.session_key = purchased_items.session_key
            and events.item_key = purchased_items.item_key
    where events.event_type <> 'transaction'
    group by events.session_key, events.visitor_key

),

-- An order's lines are paid once, however often they were sent; without order ids every event counts.
purchases as (

    select
        session_key,
        visitor_key,
        amount,
        {{ is_paid_line() }} as is_paid
    from events
    where event_type = 'transaction'

),

{%- if has_refunds() %}

-- No purchase is paid back more than once.
refunded as (

    select
        session_key,
        visitor_key,
        case when sum(amount) > max(paid) then max(paid) else sum(amount) end as refunded_value
    from {{ touched(ref('int_refunds')) }}
    where session_key is not null
    group by session_key, visitor_key, purchase_key

),
{%- endif %}

moved as (

    select
        session_key,
        visitor_key,
        0 as revenue,
        0 as refunded_value,
        carted_value,
        abandoned_value
    from cart_values
    union all
    select
        session_key,
        visitor_key,
        amount as revenue,
        0 as refunded_value,
        0 as carted_value,
        0 as abandoned_value
    from purchases
    where is_paid = 1
    {%- if has_refunds() %}
    union all
    select
        session_key,
        visitor_key,
        -refunded_value as revenue,
        refunded_value,
        0 as carted_value,
        0 as abandoned_value
    from refunded
    {%- endif %}

)

select
    session_key,
    visitor_key,
    {{ to_money('coalesce(sum(revenue), 0)') }} as revenue,
    {{ to_money('coalesce(sum(refunded_value), 0)') }} as refunded_value,
    {{ to_money('coalesce(sum(carted_value), 0)') }} as carted_value,
    {{ to_money('coalesce(sum(abandoned_value), 0)') }} as abandoned_value
from moved
group by session_key, visitor_key
