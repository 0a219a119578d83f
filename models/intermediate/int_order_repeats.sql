-- An order counts once, in the session that had it first, whoever sends it again: int_changed_events touches all visitors
-- of an order. Only earlier events decide, so that a later one changes no decision that was taken.
with orders as (

    select * from {{ ref('int_order_events') }}
    {%- if is_touched_build() %}
    where transaction_id in (select transaction_id from {{ touched(ref('int_order_events')) }})
    {%- endif %}

),

-- At one moment the visitor whose id comes first had it first: visitor_key follows the order of arrival.
judged as (

    select
        event_key,
        visitor_key,
        session_key,
        first_value(session_key) over (
            partition by transaction_id
            order by event_ms, visitor_id, event_key rows between unbounded preceding and current row
        ) as first_session_key
    from orders

)

select
    event_key,
    visitor_key
from {{ touched('judged') }}
where session_key <> first_session_key
