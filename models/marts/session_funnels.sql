{%- set steps = var('funnel_steps') %}
with sessions as (

    select * from {{ ref('sessions') }}

),

session_totals as (

    select * from {{ ref('int_session_totals') }}

),

money as (

    select * from {{ ref('int_session_money') }}

),

events as (

    select * from {{ ref('int_session_events') }}

),

-- Most sessions only view; the order of steps matters in the few that go deeper.
deeper_events as (

    select
        events.session_key,
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
            partition by session_key order by event_number rows between unbounded preceding and 1 preceding
        ) as latest_chain_ms
    from {{ 'deeper_events' if number == 2 else 'chain_' ~ (number - 1) }}

),

chain_{{ number }} as (

    select
        session_key,
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
        session_key,
        {%- for step in steps[1:] %}
        max(case when chain_{{ loop.index + 1 }}_from_ms is not null then 1 else 0 end) as has_ordered_{{ step }}
        {%- if not loop.last %},{% endif %}
        {%- endfor %}
    from chain_{{ steps | length }}
    group by session_key

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
        {{ seconds_between(pair) }} as {{ seconds_column(pair) }},
        {%- endfor %}
        {{ to_money('coalesce(money.revenue, 0)') }} as revenue,
        {{ to_money('coalesce(money.carted_value, 0)') }} as carted_value,
        {{ to_money('coalesce(money.abandoned_value, 0)') }} as abandoned_value,
        sessions.started_date,
        sessions.started_at,
        {%- for step in steps %}
        {{ ms_to_timestamp('session_totals.first_' ~ step ~ '_ms') }} as first_{{ step }}_at
        {%- if not loop.last %},{% endif %}
        {%- endfor %}
    from sessions
    inner join session_totals on sessions.session_id = session_totals.session_id
    left join ordered_steps on session_totals.session_key = ordered_steps.session_key
    left join money on session_totals.session_key = money.session_key

)

select * from final
