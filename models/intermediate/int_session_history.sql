-- What the visitor's earlier sessions held. A visitor's first session has no history and no row.
with session_totals as (

    select
        *,
        case when transaction_count > 0 then 1 else 0 end as is_converting
    from {{ touched(ref('int_session_totals')) }}
    where is_only_session = 0

),

with_earlier as (

    select
        session_key,
        visitor_key,
        session_number,
        sum(event_count) over earlier as prior_events,
        sum(view_count) over earlier as prior_views,
        sum(addtocart_count) over earlier as prior_carts,
        sum(transaction_count) over earlier as prior_transactions,
        sum(is_converting) over earlier as prior_converting_sessions,
        max(last_addtocart_ms) over earlier as last_cart_ms,
        max(last_transaction_ms) over earlier as last_purchase_ms
    from session_totals
    window earlier as (
        partition by visitor_key order by session_key rows between unbounded preceding and 1 preceding
    )

)

select
    with_earlier.session_key,
    with_earlier.visitor_key,
    with_earlier.session_number - 1 as prior_sessions,
    {%- for what in ['events', 'views', 'carts', 'transactions', 'converting_sessions'] %}
    {{ to_bigint('with_earlier.prior_' ~ what) }} as prior_{{ what }},
    {%- endfor %}
    case when previous.cart_items > 0 and previous.transaction_count = 0 then 1 else 0 end
        as previous_session_left_cart,
    previous.last_category_id as previous_session_category_id,
    previous.ended_ms as previous_session_ended_ms,
    with_earlier.last_cart_ms,
    with_earlier.last_purchase_ms
from with_earlier
inner join {{ ref('int_session_totals') }} as previous
    on
        with_earlier.visitor_key = previous.visitor_key
        and with_earlier.session_key - 1 = previous.session_key
