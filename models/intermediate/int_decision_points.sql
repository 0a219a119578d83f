-- What the visitor has done up to each decision event, and nothing after it. A session that has transacted by then has
-- no row.
with events as (

    select * from {{ ref('int_session_events') }}

),

session_totals as (

    select * from {{ ref('int_session_totals') }}

),

decisions as (

    {%- for point in var('decision_points') %}
    {%- set number = point.event_number if 'event_number' in point else 'first_' ~ point.first_event ~ '_number' %}
    select
        session_key,
        '{{ point.name }}' as decision_point,
        {{ number }} as event_number,
        first_event_key,
        first_event_key + {{ number }} - 1 as event_key
    from session_totals
    where
        event_count >= {{ number }}
        and (first_transaction_number is null or first_transaction_number > {{ number }})
    {% if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

-- A decision at the session's first event, as most are, needs no sum. Two may be at one event.
later_decisions as (

    select distinct
        session_key,
        first_event_key,
        event_key
    from decisions
    where event_number > 1

),

so_far as (

    select
        decisions.event_key,
        {%- for step in ['view', 'addtocart'] %}
        sum(case when events.event_type = '{{ step }}' then 1 else 0 end) as {{ step }}_count,
        min(case when events.event_type = '{{ step }}' then events.event_number end) as first_{{ step }}_number,
        min(case when events.event_type = '{{ step }}' then events.event_ms end) as first_{{ step }}_ms,
        {%- endfor %}
        sum(events.is_new_item) as distinct_items,
        sum(events.is_new_category) as distinct_categories,
        sum(events.is_repeat_view) as repeat_views,
        sum(case when events.is_first_addtocart = 1 then events.price end) as carted_value
    from later_decisions as decisions
    inner join events
        on
            decisions.session_key = events.session_key
            and events.event_key between decisions.first_event_key and decisions.event_key
    group by decisions.event_key

),

-- Visitors with one session have no history.
history as (

    select
        session_key,
        sum(event_count) over earlier as prior_events,
        sum(view_count) over earlier as prior_views,
        sum(addtocart_count) over earlier as prior_carts,
        sum(transaction_count) over earlier as prior_transactions,
        sum(case when transaction_count > 0 then 1 else 0 end) over earlier as prior_converting_sessions,
        max(last_addtocart_ms) over earlier as last_cart_ms,
        max(last_transaction_ms) over earlier as last_purchase_ms
    from session_totals
    where is_only_session = 0
    window earlier as (
        partition by visitor_key order by session_key rows between unbounded preceding and 1 preceding
    )

)

select
    decisions.session_key,
    session_totals.session_id,
    session_totals.visitor_id,
    decisions.decision_point,
    events.item_key,
    events.item_id,
    events.category_id as item_category_id,
    previous_sessions.last_category_id as previous_session_category_id,
    decisions.event_number as events_so_far,
    {%- for step, name in {'view': 'views', 'addtocart': 'carts'}.items() %}
    {{ to_bigint("coalesce(so_far." ~ step ~ "_count, case when events.event_type = '" ~ step ~ "' then 1 else 0 end)") }}
        as {{ name }}_so_far,
    {%- endfor %}
    {{ to_bigint('coalesce(so_far.distinct_items, events.is_new_item)') }} as distinct_items_so_far,
    {{ to_bigint('coalesce(so_far.distinct_categories, events.is_new_category)') }} as distinct_categories_so_far,
    {{ to_bigint('coalesce(so_far.repeat_views, events.is_repeat_view)') }} as repeat_views_so_far,
    {%- for step in ['view', 'addtocart'] %}
    case
        when so_far.event_key is not null then so_far.first_{{ step }}_number
        when events.event_type = '{{ step }}' then events.event_number
    end as first_{{ step }}_number,
    {%- endfor %}
    {{ to_money(
        'coalesce(so_far.carted_value, case when events.is_first_addtocart = 1 and so_far.event_key is null then events.price end, 0)'
    ) }} as carted_value_so_far,
    events.price as item_price,
    events.item_is_available,
    events.item_prior_views as item_prior_views_by_visitor,
    session_totals.session_number - 1 as prior_sessions,
    {%- for what in ['events', 'views', 'carts', 'transactions', 'converting_sessions'] %}
    {{ to_bigint('coalesce(history.prior_' ~ what ~ ', 0)') }} as prior_{{ what }},
    {%- endfor %}
    case
        when previous_sessions.addtocart_count > 0 and previous_sessions.transaction_count = 0 then 1
        when previous_sessions.session_key is not null then 0
    end as previous_session_left_cart,
    case when session_totals.transaction_count > 0 then 1 else 0 end as has_transaction,
    previous_sessions.ended_ms as previous_session_ended_ms,
    history.last_cart_ms,
    history.last_purchase_ms,
    session_totals.started_ms as session_started_ms,
    {%- for step in ['view', 'addtocart'] %}
    case
        when so_far.event_key is not null then so_far.first_{{ step }}_ms
        when events.event_type = '{{ step }}' then events.event_ms
    end as first_{{ step }}_ms,
    {%- endfor %}
    events.previous_event_ms,
    events.event_ms as decided_ms,
    events.event_at as decided_at
from decisions
inner join events
    on
        decisions.session_key = events.session_key
        and decisions.event_key = events.event_key
inner join session_totals on decisions.session_key = session_totals.session_key
left join so_far on decisions.event_key = so_far.event_key
left join history on decisions.session_key = history.session_key
left join session_totals as previous_sessions
    on
        session_totals.session_key - 1 = previous_sessions.session_key
        and session_totals.visitor_key = previous_sessions.visitor_key
