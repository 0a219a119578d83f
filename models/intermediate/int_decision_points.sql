-- What the session has done up to each decision event, and nothing after it. A session that has transacted by then has
-- no row.
with decisions as (

    {%- for point in var('decision_points') %}
    {%- set number = point.event_number if 'event_number' in point else 'first_' ~ point.first_event ~ '_number' %}
    select
        session_key,
        visitor_key,
        session_id,
        visitor_id,
        '{{ point.name }}' as decision_point,
        {{ number }} as event_number,
        first_event_key,
        first_event_key + {{ number }} - 1 as event_key,
        case when transaction_count > 0 then 1 else 0 end as has_transaction,
        started_ms,
        ended_ms
    from {{ touched(ref('int_session_totals')) }}
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
        visitor_key,
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
        sum(events.cart_value_change) as carted_value
    from later_decisions as decisions
    inner join {{ ref('int_session_events') }} as events
        on
            decisions.visitor_key = events.visitor_key
            and events.event_key between decisions.first_event_key and decisions.event_key
    group by decisions.event_key

)

select
    decisions.session_key,
    decisions.visitor_key,
    decisions.session_id,
    decisions.visitor_id,
    decisions.decision_point,
    events.item_key,
    events.category_id as item_category_id,
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
        'coalesce(so_far.carted_value, case when so_far.event_key is null then events.cart_value_change end, 0)'
    ) }} as carted_value_so_far,
    events.price as item_price,
    events.item_is_available,
    events.item_prior_views as item_prior_views_by_visitor,
    decisions.has_transaction,
    decisions.started_ms as session_started_ms,
    decisions.ended_ms as session_ended_ms,
    {%- for step in ['view', 'addtocart'] %}
    case
        when so_far.event_key is not null then so_far.first_{{ step }}_ms
        when events.event_type = '{{ step }}' then events.event_ms
    end as first_{{ step }}_ms,
    {%- endfor %}
    events.previous_event_ms,
    events.event_ms as decided_ms
from decisions
inner join {{ ref('int_session_events') }} as events
    on
        decisions.visitor_key = events.visitor_key
        and decisions.event_key = events.event_key
left join so_far on decisions.event_key = so_far.event_key
