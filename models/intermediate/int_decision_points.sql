-- What the visitor has done up to each decision event, and nothing after it. A session that has transacted by then has
-- no row.
with events as (

    select * from {{ ref('int_session_events') }}

),

session_totals as (

    select * from {{ ref('int_session_totals') }}

),

cart_items as (

    select * from {{ ref('int_cart_items') }}

),

decisions as (

    {%- for point in var('decision_points') %}
    select
        session_id,
        visitor_id,
        '{{ point.name }}' as decision_point,
        {{ point.event_number if 'event_number' in point else 'first_' ~ point.first_event ~ '_number' }} as event_number,
        transaction_count
    from session_totals
    where
        {%- if 'event_number' in point %}
        event_count >= {{ point.event_number }}
        and (first_transaction_number is null or first_transaction_number > {{ point.event_number }})
        {%- else %}
        first_{{ point.first_event }}_number is not null
        and (first_transaction_number is null or first_transaction_number > first_{{ point.first_event }}_number)
        {%- endif %}
    {% if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

session_so_far as (

    select
        decisions.session_id,
        decisions.decision_point,
        count(*) as events_so_far,
        sum(case when events.event_type = 'view' then 1 else 0 end) as views_so_far,
        sum(case when events.event_type = 'addtocart' then 1 else 0 end) as carts_so_far,
        count(distinct events.item_id) as distinct_items_so_far,
        count(distinct events.category_id) as distinct_categories_so_far,
        count(distinct case when events.event_type = 'view' then events.item_id end) as distinct_items_viewed,
        min(case when events.event_type = 'view' then events.event_number end) as first_view_number,
        min(case when events.event_type = 'view' then events.event_ms end) as first_view_ms,
        min(case when events.event_type = 'addtocart' then events.event_number end) as first_addtocart_number,
        min(case when events.event_type = 'addtocart' then events.event_ms end) as first_addtocart_ms,
        min(events.event_ms) as session_started_ms
    from decisions
    inner join events
        on
            decisions.session_id = events.session_id
            and decisions.event_number >= events.event_number
    group by decisions.session_id, decisions.decision_point

),

carted_so_far as (

    select
        decisions.session_id,
        decisions.decision_point,
        sum(cart_items.price) as carted_value_so_far
    from decisions
    inner join cart_items
        on
            decisions.session_id = cart_items.session_id
            and decisions.event_number >= cart_items.first_addtocart_number
    group by decisions.session_id, decisions.decision_point

),

item_views as (

    select
        session_id,
        event_number,
        sum(case when event_type = 'view' then 1 else 0 end) over (
            partition by visitor_id, item_id
            order by visitor_event_number rows between unbounded preceding and 1 preceding
        ) as item_prior_views_by_visitor
    from events

),

history as (

    select
        session_id,
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
    events.item_id,
    events.category_id as item_category_id,
    history.previous_session_category_id,
    session_so_far.events_so_far,
    {{ to_bigint('session_so_far.views_so_far') }} as views_so_far,
    {{ to_bigint('session_so_far.carts_so_far') }} as carts_so_far,
    session_so_far.distinct_items_so_far,
    session_so_far.distinct_categories_so_far,
    session_so_far.distinct_items_viewed,
    session_so_far.first_view_number,
    session_so_far.first_view_ms,
    session_so_far.first_addtocart_number,
    session_so_far.first_addtocart_ms,
    session_so_far.session_started_ms,
    coalesce(carted_so_far.carted_value_so_far, 0) as carted_value_so_far,
    events.price as item_price,
    events.item_is_available,
    {{ to_bigint('coalesce(item_views.item_prior_views_by_visitor, 0)') }} as item_prior_views_by_visitor,
    history.prior_sessions,
    {%- for what in ['events', 'views', 'carts', 'transactions', 'converting_sessions'] %}
    {{ to_bigint('coalesce(history.prior_' ~ what ~ ', 0)') }} as prior_{{ what }},
    {%- endfor %}
    history.previous_session_ended_ms,
    history.last_cart_ms,
    history.last_purchase_ms,
    history.previous_session_left_cart,
    case when decisions.transaction_count > 0 then 1 else 0 end as has_transaction,
    events.previous_event_ms,
    events.event_ms as decided_ms,
    events.event_at as decided_at
from decisions
inner join events
    on
        decisions.session_id = events.session_id
        and decisions.event_number = events.event_number
inner join session_so_far
    on
        decisions.session_id = session_so_far.session_id
        and decisions.decision_point = session_so_far.decision_point
inner join item_views
    on
        decisions.session_id = item_views.session_id
        and decisions.event_number = item_views.event_number
inner join history on decisions.session_id = history.session_id
left join carted_so_far
    on
        decisions.session_id = carted_so_far.session_id
        and decisions.decision_point = carted_so_far.decision_point
