-- What was paid back, each refund once, beside the purchase that it lowers: the order that it names; where that is unknown,
-- what its visitor bought last of its item until then. Of the whole shop, and few.
-- depends_on: {{ ref('stg_events') }}
{%- set is_counted = has_refunds() %}
with {% if has_event_ids() and is_counted -%}
-- Of the lines with one id the last one counts, and it may be no refund.
last_sent as (

    {{ last_sent(ref('stg_refunds')) }}

),

{% endif -%}
sent as (

    select
        refunds.visitor_id,
        refunds.item_id,
        coalesce(refunds.transaction_id, '') as transaction_id,
        abs(refunds.own_price) as price,
        abs(refunds.quantity) as quantity,
        coalesce(refunds.event_id, '') as event_id,
        refunds.event_ms as refund_ms,
        min(refunds.load_number) as load_number
    from {{ ref('stg_refunds') }} as refunds
    {%- if not is_counted %}
    where 1 = 0
    {%- elif has_event_ids() %}
    left join last_sent on refunds.event_id = last_sent.event_id
    where refunds.event_id is null or refunds.place = last_sent.place
    {%- endif %}
    group by
        refunds.visitor_id, refunds.item_id, coalesce(refunds.transaction_id, ''), abs(refunds.own_price),
        abs(refunds.quantity), coalesce(refunds.event_id, ''), refunds.event_ms

),

refunds as (

    select
        sent.*,
        items.item_key,
        row_number() over (
            order by
                sent.refund_ms, sent.visitor_id, sent.item_id, sent.transaction_id, sent.event_id,
                {{ nulls_first('sent.price') }}, {{ nulls_first('sent.quantity') }}
        ) as refund_number
    from sent
    left join {{ ref('int_items') }} as items on sent.item_id = items.item_id

),

buyers as (

    select orders.visitor_key
    from {{ ref('int_order_events') }} as orders
    where orders.transaction_id in (select refunds.transaction_id from refunds)
    union
    select visitors.visitor_key
    from {{ ref('int_visitors') }} as visitors
    where visitors.visitor_id in (select refunds.visitor_id from refunds)

),

purchased as (

    select
        events.session_key,
        events.visitor_key,
        visitors.visitor_id,
        events.event_key,
        events.event_number,
        events.item_key,
        events.transaction_id,
        events.price,
        events.amount,
        events.has_event_id,
        events.event_ms
    from buyers
    inner join {{ ref('int_session_events') }} as events on buyers.visitor_key = events.visitor_key
    inner join {{ ref('int_visitors') }} as visitors on events.visitor_key = visitors.visitor_key
    where events.event_type = 'transaction' and events.is_repeated_order = 0

),

judged as (

    select
        *,
        {{ is_paid_line() }} as is_paid
    from purchased

),

-- A purchase is an order, or an event where there are no orders: it is known by its first event.
paid as (

    select
        *,
        min(event_key) over (partition by {{ purchase() }}) as purchase_key,
        {{ to_money('sum(coalesce(amount, 0)) over (partition by ' ~ purchase() ~ ')') }} as paid
    from judged
    where is_paid = 1

),

orders as (

    select
        transaction_id,
        session_key,
        visitor_key,
        min(purchase_key) as purchase_key,
        max(paid) as paid
    from paid
    where transaction_id <> ''
    group by transaction_id, session_key, visitor_key

),

-- What an order has of an item; its dearest line, where units of it come back.
order_lines as (

    select
        session_key,
        transaction_id,
        item_key,
        max(price) as price,
        {{ to_money('sum(amount)') }} as amount
    from paid
    where transaction_id <> ''
    group by session_key, transaction_id, item_key

),

bought_before as (

    select
        refunds.refund_number,
        max(paid.event_key) as event_key
    from refunds
    left join orders on refunds.transaction_id = orders.transaction_id
    inner join paid
        on
            refunds.visitor_id = paid.visitor_id
            and refunds.item_key = paid.item_key
    where orders.transaction_id is null and paid.event_ms <= refunds.refund_ms
    group by refunds.refund_number

),

-- The item's lines in the order, or the one that was bought before.
matched as (

    select
        refunds.*,
        coalesce(orders.session_key, before_it.session_key) as session_key,
        coalesce(orders.visitor_key, before_it.visitor_key) as visitor_key,
        coalesce(orders.purchase_key, before_it.purchase_key) as purchase_key,
        coalesce(orders.paid, before_it.paid) as paid,
        coalesce(of_order.price, before_it.price) as line_price,
        coalesce(of_order.amount, before_it.amount) as line_amount
    from refunds
    left join orders on refunds.transaction_id = orders.transaction_id
    left join order_lines as of_order
        on
            orders.session_key = of_order.session_key
            and orders.transaction_id = of_order.transaction_id
            and refunds.item_key = of_order.item_key
    left join bought_before on refunds.refund_number = bought_before.refund_number
    left join paid as before_it on bought_before.event_key = before_it.event_key

)

select
    refund_number,
    visitor_key,
    session_key,
    purchase_key,
    visitor_id,
    item_id,
    transaction_id,
    event_id,
    -- A refund without a price is of all the item's lines, or of as many units as it says; without an item of the order.
    {{ to_money(
        "case when price is not null then cast(price as decimal(28, 4)) * coalesce(quantity, 1) "
        ~ "when item_id = '' then paid "
        ~ "when quantity is null then line_amount "
        ~ "else cast(line_price as decimal(28, 4)) * quantity end"
    ) }} as amount,
    paid,
    load_number,
    refund_ms
from matched
