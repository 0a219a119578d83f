-- Sessions are cut here and nowhere else.
-- Neighbours are found by their key: events are numbered in the order of visitors and their time.
with events as (

    select
        event_key,
        visitor_id,
        event_ms
    from {{ ref('int_events') }}

),

neighbours as (

    select
        events.event_key,
        previous_events.event_ms as previous_ms,
        case when previous_events.event_key is null then 1 else 0 end as is_first_of_visitor,
        case when next_events.event_key is null then 1 else 0 end as is_last_of_visitor,
        case
            when
                previous_events.event_key is null
                or events.event_ms - previous_events.event_ms > {{ var('session_timeout_seconds') }} * 1000
                then 1
            else 0
        end as is_first_in_session,
        case
            when
                next_events.event_key is null
                or next_events.event_ms - events.event_ms > {{ var('session_timeout_seconds') }} * 1000
                then 1
            else 0
        end as is_last_in_session
    from events
    left join events as previous_events
        on
            events.event_key - 1 = previous_events.event_key
            and events.visitor_id = previous_events.visitor_id
    left join events as next_events
        on
            events.event_key + 1 = next_events.event_key
            and events.visitor_id = next_events.visitor_id

),

-- Sums alone: a running maximum over one long row of events takes some engines the square of its length.
counted as (

    select
        event_key,
        previous_ms,
        is_first_of_visitor,
        is_last_of_visitor,
        is_first_in_session,
        is_last_in_session,
        sum(is_first_of_visitor) over so_far as visitor_key,
        sum(is_first_in_session) over so_far as session_key
    from neighbours
    window so_far as (order by event_key rows between unbounded preceding and current row)

)

select
    event_key,
    {{ to_bigint('session_key') }} as session_key,
    {{ to_bigint('visitor_key') }} as visitor_key,
    is_first_of_visitor,
    is_last_of_visitor,
    is_first_in_session,
    is_last_in_session,
    case when is_first_in_session = 0 then previous_ms end as previous_event_ms
from counted
