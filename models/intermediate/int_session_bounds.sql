-- Where each session begins and ends, and its text id, which is built once a session.
with events as (

    select * from {{ ref('int_events') }}

),

grouped as (

    select
        session_key,
        visitor_key,
        min(event_key) as first_event_key,
        max(event_key) as last_event_key,
        max(is_first_of_visitor) as is_first_of_visitor,
        max(is_last_of_visitor) as is_last_of_visitor
    from {{ ref('int_event_places') }}
    group by session_key, visitor_key

),

numbered as (

    select
        *,
        row_number() over (partition by visitor_key order by session_key) as session_number,
        sum(last_event_key - first_event_key + 1) over (
            partition by visitor_key order by session_key rows between unbounded preceding and current row
        ) as events_with_this
    from grouped

)

select
    numbered.session_key,
    numbered.visitor_key,
    numbered.first_event_key,
    numbered.last_event_key,
    {{ to_bigint('numbered.session_number') }} as session_number,
    {{ to_bigint('numbered.events_with_this - (numbered.last_event_key - numbered.first_event_key + 1)') }} as prior_events,
    numbered.is_first_of_visitor * numbered.is_last_of_visitor as is_only_session,
    {{ join_text(['events.visitor_id', "'-'", to_text('events.event_ms')]) }} as session_id,
    events.visitor_id
from numbered
inner join events on numbered.first_event_key = events.event_key
