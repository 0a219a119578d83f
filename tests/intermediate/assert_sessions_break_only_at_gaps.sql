-- Grain: one row per event that is in the wrong session. Guards the session rule: an event goes on with its visitor's
-- session exactly when the gap to the event before it is at most session_timeout_seconds.
with later as (

    select * from {{ looked_at(ref('int_session_events')) }}

),

neighbours as (

    select
        later.visitor_key,
        later.visitor_event_number,
        later.event_number,
        later.event_ms - earlier.event_ms as gap_ms
    from later
    left join {{ ref('int_events') }} as earlier
        on
            later.visitor_key = earlier.visitor_key
            and later.event_key - 1 = earlier.event_key

)

select *
from neighbours
where
    gap_ms < 0
    or (gap_ms is null and visitor_event_number <> 1)
    or (gap_ms is not null and visitor_event_number = 1)
    or (event_number = 1 and gap_ms <= {{ var('session_timeout_seconds') }} * 1000)
    or (event_number > 1 and (gap_ms is null or gap_ms > {{ var('session_timeout_seconds') }} * 1000))
