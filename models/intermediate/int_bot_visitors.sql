-- Behavioural bots: thousands of events, one item polled over and over, or a pace no hand keeps.
with events as (

    select * from {{ touched(ref('int_session_events')) }}

),

session_totals as (

    select * from {{ touched(ref('int_session_totals')) }}

),

crowds as (

    select
        visitor_key,
        'many_events' as bot_reason
    from events
    where visitor_event_number = {{ var('bot_visitor_events') }}

),

-- The view with which the item has been seen so often.
pollers as (

    select
        visitor_key,
        'polls_one_item' as bot_reason
    from events
    where event_type = 'view' and item_prior_views = {{ var('bot_poll_views') }} - 1

),

sprinters as (

    select
        visitor_key,
        'inhuman_pace' as bot_reason
    from session_totals
    where
        event_count >= {{ var('bot_pace_events') }}
        and ended_ms - started_ms < {{ var('bot_pace_mean_gap_seconds') }} * 1000 * (event_count - 1)

),

flagged as (

    select * from crowds
    union all
    select * from pollers
    union all
    select * from sprinters

)

select
    flagged.visitor_key,
    min(visitors.visitor_id) as visitor_id,
    min(flagged.bot_reason) as bot_reason
from flagged
inner join {{ ref('int_visitors') }} as visitors on flagged.visitor_key = visitors.visitor_key
group by flagged.visitor_key
