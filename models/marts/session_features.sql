-- Every feature is a function of what was known when the decision was made: see docs/features.md for the proofs.
with timed as (

    select
        *,
        {{ local_day_number('decided_ms') }} as day_number,
        {{ to_double('decided_ms - session_started_ms') }} / 1000 as seconds_since_start
    from {{ touched(ref('int_decision_points')) }}

)

select
    timed.session_id,
    timed.visitor_id,
    items.item_id,
    timed.decision_point,

    {{ to_integer(local_hour('timed.decided_ms')) }} as decision_hour,
    {{ to_integer(weekday('timed.day_number')) }} as decision_weekday,
    case when {{ weekday('timed.day_number') }} >= 6 then 1 else 0 end as is_weekend,

    timed.events_so_far,
    timed.views_so_far,
    timed.carts_so_far,
    timed.distinct_items_so_far,
    timed.distinct_categories_so_far,
    timed.seconds_since_start,
    {{ to_double('timed.decided_ms - timed.previous_event_ms') }} / 1000 as seconds_since_previous_event,
    timed.seconds_since_start / nullif({{ to_double('timed.events_so_far - 1') }}, 0) as mean_gap_seconds,
    {{ ratio('timed.repeat_views_so_far', 'timed.views_so_far') }} as repeat_view_share,
    case when timed.views_so_far > 0 then 1 else 0 end as has_view,
    case when timed.carts_so_far > 0 then 1 else 0 end as has_addtocart,
    case
        when timed.first_view_number < timed.first_addtocart_number
            then {{ to_double('timed.first_addtocart_ms - timed.first_view_ms') }} / 1000
    end as view_to_cart_seconds,
    {{ ratio('timed.carts_so_far', 'timed.views_so_far') }} as addtocart_rate,
    {{ to_double('timed.carted_value_so_far') }} as carted_value_so_far,

    item_categories.root_category_id as item_root_category,
    timed.item_category_id as item_category,
    item_categories.depth as item_category_depth,
    {{ to_double('timed.item_price') }} as item_price,
    {{ to_double('timed.item_price') }} / nullif(category_prices.mean_price_28d, 0) as item_price_ratio,
    timed.item_is_available,
    item_demand.views_7d as item_views_7d,
    item_demand.views_28d as item_views_28d,
    {%- for days in [7, 28] %}
    {{ smoothed_rate('item_demand.carts_' ~ days ~ 'd', 'item_demand.views_' ~ days ~ 'd', var('prior_cart_rate')) }}
        as item_cart_rate_{{ days }}d,
    {{ smoothed_rate(
        'item_demand.purchases_' ~ days ~ 'd', 'item_demand.views_' ~ days ~ 'd', var('prior_purchase_rate')
    ) }} as item_purchase_rate_{{ days }}d,
    {%- endfor %}
    timed.item_prior_views_by_visitor,

    coalesce(history.prior_sessions, 0) as prior_sessions,
    coalesce(history.prior_events, 0) as prior_events,
    coalesce(history.prior_views, 0) as prior_views,
    coalesce(history.prior_carts, 0) as prior_carts,
    coalesce(history.prior_transactions, 0) as prior_transactions,
    {{ smoothed_rate(
        'coalesce(history.prior_converting_sessions, 0)', 'coalesce(history.prior_sessions, 0)', var('prior_conversion_rate')
    ) }}
        as prior_conversion_rate,
    {{ to_double('timed.decided_ms - history.previous_session_ended_ms') }} / 86400000 as days_since_previous_session,
    {{ to_double('timed.decided_ms - history.last_cart_ms') }} / 86400000 as days_since_last_cart,
    {{ to_double('timed.decided_ms - history.last_purchase_ms') }} / 86400000 as days_since_last_purchase,
    history.previous_session_left_cart,
    case
        when item_categories.root_category_id is null or previous_categories.root_category_id is null then null
        when item_categories.root_category_id = previous_categories.root_category_id then 1
        else 0
    end as same_root_category_as_previous_session,

    timed.has_transaction,
    {{ is_closed('timed.session_ended_ms') }} as is_mature,
    case when history.session_key is null then 1 else 0 end as is_new_visitor,
    case when bots.visitor_key is null then 0 else 1 end as is_bot,
    {{ day_number_to_date('timed.day_number') }} as decided_date,
    timed.decided_ms,
    {{ ms_to_timestamp('timed.decided_ms') }} as decided_at
from timed
cross join {{ ref('int_clock') }} as clock
inner join {{ ref('int_items') }} as items on timed.item_key = items.item_key
inner join {{ ref('int_item_demand_daily') }} as item_demand
    on
        timed.item_key = item_demand.item_key
        and timed.day_number = item_demand.day_number
left join {{ ref('int_session_history') }} as history
    on
        timed.visitor_key = history.visitor_key
        and timed.session_key = history.session_key
left join {{ ref('int_bot_visitors') }} as bots on timed.visitor_key = bots.visitor_key
left join {{ ref('int_category_price_daily') }} as category_prices
    on
        timed.item_category_id = category_prices.category_id
        and timed.day_number = category_prices.day_number
left join {{ ref('dim_category') }} as item_categories on timed.item_category_id = item_categories.category_id
left join {{ ref('dim_category') }} as previous_categories
    on history.previous_session_category_id = previous_categories.category_id
{%- if var('exclude_bots') %}
where bots.visitor_key is null
{%- endif %}
