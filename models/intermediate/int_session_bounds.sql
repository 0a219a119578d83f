-- Where each session begins and ends, and its text id, which is built once a session.
with grouped as (

    select
        session_key,
        visitor_key,
        min(event_key) as first_event_key,
        max(event_key) as last_event_key,
        max(is_first_of_visitor) * max(is_last_of_visitor) as is_only_session
    from {{ touched(ref('int_event_places')) }}
    group by session_key, visitor_key

)

select
    grouped.session_key,
    grouped.visitor_key,
    grouped.first_event_key,
    grouped.last_event_key,
    {{ number_of('grouped.session_key', 'grouped.visitor_key') }} as session_number,
    grouped.is_only_session,
    {{ join_text(['visitors.visitor_id', "'-'", to_text('events.event_ms')]) }} as session_id,
    visitors.visitor_id
from grouped
inner join {{ ref('int_visitors') }} as visitors on grouped.visitor_key = visitors.visitor_key
inner join {{ ref('int_events') }} as events
    on
        grouped.visitor_key = events.visitor_key
        and grouped.first_event_key = events.event_key
