{{ config(mysql_spec='primary key (session_id)') }}
{%- set steps = var('funnel_steps') %}
with sessions as (

    select * from {{ ref('sessions') }}

),

session_totals as (

    select * from {{ ref('int_session_totals') }}

),

events as (

    select * from {{ ref('int_session_events') }}

),

-- Most sessions only view; the order of steps matters in the few that go deeper.
deeper_events as (

    select
        events.session_id,
        events.event_number,
        events.event_type,
        events.event_ms,
        case when events.event_type = '{{ steps[0] }}' then events.event_ms end as chain_1_from_ms
    from events
    inner join session_totals on events.session_key = session_totals.session_key
    where session_totals.event_count > session_totals.{{ steps[0] }}_count

),

-- A chain's start travels with it from step to step: the latest start leaves the most time, so it is the one kept.
{%- for step in steps[1:] %}
{%- set number = loop.index + 1 %}

reachable_{{ number }} as (

    select
        *,
        max(chain_{{ number - 1 }}_from_ms) over (
            partition by session_id order by event_number rows between unbounded preceding and 1 preceding
        ) as latest_chain_ms
    from {{ 'deeper_events' if number == 2 else 'chain_' ~ (number - 1) }}

),

chain_{{ number }} as (

    select
        session_id,
        event_number,
        event_type,
        event_ms,
        {%- for earlier in range(2, number) %}
        chain_{{ earlier }}_from_ms,
        {%- endfor %}
        case
            when event_type = '{{ step }}' and event_ms - latest_chain_ms <= {{ var('conversion_window_seconds') }} * 1000
                then latest_chain_ms
        end as chain_{{ number }}_from_ms
    from reachable_{{ number }}

),
{%- endfor %}

ordered_steps as (

    select
        session_id,
        {%- for step in steps[1:] %}
        max(case when chain_{{ loop.index + 1 }}_from_ms is not null then 1 else 0 end) as has_ordered_{{ step }}
        {%- if not loop.last %},{% endif %}
        {%- endfor %}
    from chain_{{ steps | length }}
    group by session_id

),

purchased_items as (

    select distinct
        session_id,
        item_id
    from events
    where event_type = 'transaction'

),

-- A carted item is worth its price when it first went into the cart; a second click on it adds nothing.
cart_values as (

    select
        events.session_id,
        sum(events.price) as carted_value,
        sum(case when purchased_items.item_id is null then events.price end) as abandoned_value
    from events
    left join purchased_items
        on
            events.session_id = purchased_items.session_id
            and events.item_id = purchased_items.item_id
    where events.is_first_addtocart = 1
    group by events.session_id

),

-- One item of one order is paid once, however often its event was sent; without order ids every event counts.
purchases as (

    select
        session_id,
        price,
        row_number() over (
            partition by
                session_id, transaction_id, item_id, case when transaction_id is null then event_number end
            order by event_number
        ) as sending
    from events
    where event_type = 'transaction'

),

revenues as (

    select
        session_id,
        sum(price) as revenue
    from purchases
    where sending = 1
    group by session_id

),

final as (

    select
        sessions.session_id,
        sessions.visitor_id,
        case
            {%- for step in steps | reverse %}
            when session_totals.{{ step }}_count > 0 then '{{ step }}'
            {%- endfor %}
        end as furthest_step,
        case
            {%- for step in steps | reverse %}
            when session_totals.{{ step }}_count > 0 then {{ steps | length - loop.index0 }}
            {%- endfor %}
        end as furthest_step_number,
        {%- for step in steps %}
        case when session_totals.{{ step }}_count > 0 then 1 else 0 end as has_{{ step }},
        {%- endfor %}
        case when session_totals.{{ steps[0] }}_count > 0 then 1 else 0 end as has_ordered_{{ steps[0] }},
        {%- for step in steps[1:] %}
        coalesce(ordered_steps.has_ordered_{{ step }}, 0) as has_ordered_{{ step }},
        {%- endfor %}
        {%- for pair in step_pairs() %}
        case
            when session_totals.first_{{ pair[0] }}_number < session_totals.first_{{ pair[1] }}_number
                then {{ to_double('session_totals.first_' ~ pair[1] ~ '_ms - session_totals.first_' ~ pair[0] ~ '_ms') }} / 1000
        end as {{ seconds_column(pair) }},
        {%- endfor %}
        {{ to_money('coalesce(revenues.revenue, 0)') }} as revenue,
        {{ to_money('coalesce(cart_values.carted_value, 0)') }} as carted_value,
        {{ to_money('coalesce(cart_values.abandoned_value, 0)') }} as abandoned_value,
        sessions.started_date,
        sessions.started_at,
        {%- for step in steps %}
        {{ ms_to_timestamp('session_totals.first_' ~ step ~ '_ms') }} as first_{{ step }}_at
        {%- if not loop.last %},{% endif %}
        {%- endfor %}
    from sessions
    inner join session_totals on sessions.session_id = session_totals.session_id
    left join ordered_steps on sessions.session_id = ordered_steps.session_id
    left join cart_values on sessions.session_id = cart_values.session_id
    left join revenues on sessions.session_id = revenues.session_id

)

select * from final
