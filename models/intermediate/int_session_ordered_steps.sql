-- Whether a session went through the funnel in order, each step within conversion_window_seconds of the first one. Most
-- sessions only view; the order of steps matters in the few that go deeper, and only they have a row.
{%- set steps = var('funnel_steps') %}
with deeper_events as (

    select
        events.session_key,
        events.visitor_key,
        events.event_number,
        events.event_type,
        events.event_ms,
        case when events.event_type = '{{ steps[0] }}' then events.event_ms end as chain_1_from_ms
    from {{ touched(ref('int_session_totals'), alias='session_totals') }}
    inner join {{ ref('int_session_events') }} as events
        on
            session_totals.visitor_key = events.visitor_key
            and session_totals.session_key = events.session_key
    where session_totals.event_count > session_totals.{{ steps[0] }}_count and events.is_repeated_order = 0

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
        visitor_key,
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

){%- if not loop.last %},{% endif %}
{%- endfor %}

select
    session_key,
    visitor_key,
    {%- for step in steps[1:] %}
    max(case when chain_{{ loop.index + 1 }}_from_ms is not null then 1 else 0 end) as has_ordered_{{ step }}
    {%- if not loop.last %},{% endif %}
    {%- endfor %}
from chain_{{ steps | length }}
group by session_key, visitor_key
