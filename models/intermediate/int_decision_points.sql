-- What the visitor has done up to each decision event, and nothing after it. A session that has transacted by then has
-- no row.
with events as (

    select * from {{ ref('int_session_events') }}

),

session_totals as (

    select * from {{ ref('int_session_totals') }}

),

session_so_far as (

    select
        *,
        {%- for step in var('funnel_steps') %}
        sum(case when event_type = '{{ step }}' then 1 else 0 end) over so_far as {{ step }}_count_so_far,
        {%- endfor %}
        sum(is_new_item) over so_far as distinct_items_so_far,
        sum(is_new_category) over so_far as distinct_categories_so_far,
        sum(is_repeat_view) over so_far as repeat_views_so_far,
        sum(case when is_first_addtocart = 1 then price end) over so_far as carted_value_so_far,
        min(case when event_type = 'view' then event_number end) over so_far as first_view_number,
        min(case when event_type = 'view' then event_ms end) over so_far as first_view_ms,
        min(case when event_type = 'addtocart' then event_number end) over so_far as first_addtocart_number,
        min(case when event_type = 'addtocart' then event_ms end) over so_far as first_addtocart_ms,
        min(event_ms) over so_far as session_started_ms
    from events
    window so_far as (
        partition by session_id order by event_number rows between unbounded preceding and current row
    )

),

decisions as (

    {%- for point in var('decision_points') %}
    select
        *,
        '{{ point.name }}' as decision_point
    from session_so_far
    where
        transaction_count_so_far = 0
        {%- if 'event_number' in point %}
        and event_number = {{ point.event_number }}
        {%- else %}
        and event_type = '{{ point.first_event }}'
        and {{ point.first_event }}_count_so_far = 1
        {%- endif %}
    {% if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

history as (

    select
        session_id,
        transaction_count,
        session_number - 1 as prior_sessions,
        sum(event_count) over earlier as prior_events,
        sum(view_count) over earlier as prior_views,
        sum(addtocart_count) over earlier as prior_carts,
        sum(transaction_count) over earlier as prior_transactions,
        sum(case when transaction_count > 0 then 1 else 0 end) over earlier as prior_converting_sessions,
        max(ended_ms) over earlier as previous_session_ended_ms,
        max(last_addtocart_ms) over earlier as last_cart_ms,
        max(last_transaction_ms) over earlier as last_purchase_ms,
        lag(case when addtocart_count > 0 and transaction_count = 0 then 1 else 0 end)
            over (partition by visitor_id order by session_number) as previous_session_left_cart,
        lag(last_category_id) over (partition by visitor_id order by session_number) as previous_session_category_id
    from session_totals
    window earlier as (
        partition by visitor_id order by session_number rows between unbounded preceding and 1 preceding
    )

)

select
    decisions.session_id,
    decisions.visitor_id,
    decisions.decision_point,
    decisions.item_id,
    decisions.category_id as item_category_id,
    history.previous_session_category_id,
    decisions.event_number as events_so_far,
    {{ to_bigint('decisions.view_count_so_far') }} as views_so_far,
    {{ to_bigint('decisions.addtocart_count_so_far') }} as carts_so_far,
    {%- for what in ['distinct_items', 'distinct_categories', 'repeat_views'] %}
    {{ to_bigint('decisions.' ~ what ~ '_so_far') }} as {{ what }}_so_far,
    {%- endfor %}
    decisions.first_view_number,
    decisions.first_addtocart_number,
    {{ to_money('coalesce(decisions.carted_value_so_far, 0)') }} as carted_value_so_far,
    decisions.price as item_price,
    decisions.item_is_available,
    decisions.item_prior_views as item_prior_views_by_visitor,
    history.prior_sessions,
    {%- for what in ['events', 'views', 'carts', 'transactions', 'converting_sessions'] %}
    {{ to_bigint('coalesce(history.prior_' ~ what ~ ', 0)') }} as prior_{{ what }},
    {%- endfor %}
    history.previous_session_left_cart,
    case when history.transaction_count > 0 then 1 else 0 end as has_transaction,
    history.previous_session_ended_ms,
    history.last_cart_ms,
    history.last_purchase_ms,
    decisions.session_started_ms,
    decisions.first_view_ms,
    decisions.first_addtocart_ms,
    decisions.previous_event_ms,
    decisions.event_ms as decided_ms,
    decisions.event_at as decided_at
from decisions
inner join history on decisions.session_id = history.session_id
