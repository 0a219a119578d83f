-- Grain: one row an event that is in the wrong session. Guards the session rule: two neighbours of one visitor share a
-- session exactly when their gap is at most session_timeout_seconds.
with neighbours as (

    select
        later.visitor_id,
        later.visitor_event_number,
        earlier.session_id as earlier_session_id,
        later.session_id as later_session_id,
        later.event_ms - earlier.event_ms as gap_ms
    from {{ ref('int_session_events') }} as later
    inner join {{ ref('int_session_events') }} as earlier
        on
            later.visitor_id = earlier.visitor_id
            and later.visitor_event_number = earlier.visitor_event_number + 1

)

select *
from neighbours
where
    gap_ms < 0
    or (gap_ms <= {{ var('session_timeout_seconds') }} * 1000 and earlier_session_id <> later_session_id)
    or (gap_ms > {{ var('session_timeout_seconds') }} * 1000 and earlier_session_id = later_session_id)
