-- A carted item is worth its price when it first went into the cart; a second click on it adds nothing.
with events as (

    select * from {{ ref('int_session_events') }}
    where event_type in ('addtocart', 'transaction')

),

cart_items as (

    select
        session_id,
        item_id,
        min(case when event_type = 'addtocart' then event_number end) as first_addtocart_number,
        max(case when event_type = 'transaction' then 1 else 0 end) as is_purchased
    from events
    group by session_id, item_id

)

select
    cart_items.session_id,
    cart_items.item_id,
    cart_items.first_addtocart_number,
    events.price,
    cart_items.is_purchased
from cart_items
inner join events
    on
        cart_items.session_id = events.session_id
        and cart_items.first_addtocart_number = events.event_number
