-- What time it is for the data. One device with a wrong clock must not say so for everybody.
-- An event cannot be later than the load that brought it. Few events far before or after all others are stragglers.
{%- set gap_ms = var('clock_gap_days') * 86400000 %}
with loads as (

    select max(loaded_ms) + {{ var('clock_tolerance_seconds') }} * 1000 as latest_possible_ms
    from {{ ref('stg_loads') }}
    where raw_table = 'raw_events'

),

events as (

    select
        events.event_ms,
        {{ integer_divide('events.event_ms', 86400000) }} as day_number,
        -- Where no load is known every event is possible.
        case
            when events.event_ms > coalesce(loads.latest_possible_ms, events.event_ms) then 1
            else 0
        end as is_too_late
    from {{ ref('stg_events') }} as events
    cross join loads

),

daily as (

    select
        day_number,
        is_too_late,
        count(*) as event_count,
        min(event_ms) as first_event_ms,
        max(event_ms) as last_event_ms
    from events
    group by day_number, is_too_late

),

possible as (

    select
        *,
        case when is_too_late = 0 then event_count else 0 end as possible_count,
        case when is_too_late = 0 then first_event_ms end as first_ms,
        case when is_too_late = 0 then last_event_ms end as last_ms
    from daily

),

-- What is too late comes last: its null ends the run of the days before it.
days as (

    select
        *,
        lag(last_ms) over (order by day_number, is_too_late) as previous_ms,
        lead(first_ms) over (order by day_number, is_too_late) as next_ms,
        sum(possible_count) over (order by day_number, is_too_late rows unbounded preceding) as count_so_far,
        sum(possible_count) over () as total_count
    from possible

),

judged as (

    select
        event_count,
        possible_count,
        first_event_ms,
        last_event_ms,
        first_ms,
        last_ms,
        count_so_far - possible_count as earlier_count,
        total_count - count_so_far as later_count,
        case
            when
                (previous_ms is null or first_ms - previous_ms > {{ gap_ms }})
                and count_so_far - possible_count <= total_count * {{ '%.6f' % var('clock_straggler_share') }}
                then 1
            else 0
        end as may_be_first,
        case
            when
                (next_ms is null or next_ms - last_ms > {{ gap_ms }})
                and total_count - count_so_far <= total_count * {{ '%.6f' % var('clock_straggler_share') }}
                then 1
            else 0
        end as may_be_last
    from days

)

-- If every event is later than the last load, the loading machine's clock is the wrong one.
select
    {{ to_bigint('coalesce(max(case when may_be_first = 1 then earlier_count end), 0)') }} as early_event_count,
    {{ to_bigint(
        'case when sum(possible_count) > 0 '
        ~ 'then max(case when may_be_last = 1 then later_count end) + sum(event_count - possible_count) else 0 end'
    ) }} as late_event_count,
    {{ to_bigint('coalesce(max(case when may_be_first = 1 then first_ms end), min(first_event_ms))') }}
        as first_plausible_ms,
    {{ to_bigint('coalesce(min(case when may_be_last = 1 then last_ms end), max(last_event_ms))') }}
        as high_water_mark_ms
from judged
