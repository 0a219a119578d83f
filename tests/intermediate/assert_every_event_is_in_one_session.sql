-- Grain: one row, only if the layers disagree. Events in = events with a session = events counted by sessions.
with counts as (

    select
        (select count(*) from {{ looked_at(ref('int_events')) }}) as staged_events,
        (select count(*) from {{ looked_at(ref('int_session_events')) }}) as session_events,
        (select coalesce(sum(event_count), 0) from {{ looked_at(ref('int_session_totals')) }}) as counted_events,
        (select count(*) from {{ looked_at(ref('int_session_totals')) }}) as session_rows,
        (select count(distinct session_key) from {{ looked_at(ref('int_session_events')) }}) as distinct_sessions

)

select *
from counts
where staged_events <> session_events or session_events <> counted_events or session_rows <> distinct_sessions
