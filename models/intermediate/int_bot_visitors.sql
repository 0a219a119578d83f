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

-- Sessions fast enough if every row of them were an act of its own: few, so that only these are looked at closely.
fast_sessions as (

    select
        session_key,
        visitor_key,
        ended_ms - started_ms as duration_ms
    from session_totals
    where
        event_count >= {{ var('bot_pace_events') }}
        and ended_ms - started_ms < {{ var('bot_pace_mean_gap_seconds') }} * 1000 * (event_count - 1)

),

-- Lines of one order are one act, and so is what has one time: a basket is filled and paid with one click.
acts as (

    select
        events.session_key,
        case
            when events.event_type = 'transaction' and events.transaction_id <> ''
                then min(events.event_ms) over (partition by events.session_key, events.event_rank, events.transaction_id)
            else events.event_ms
        end as act_ms
    from events
    inner join fast_sessions on events.visitor_key = fast_sessions.visitor_key and events.session_key = fast_sessions.session_key

),

paces as (

    select
        session_key,
        count(distinct act_ms) as act_count
    from acts
    group by session_key

),

sprinters as (

    select
        fast_sessions.visitor_key,
        'inhuman_pace' as bot_reason
    from fast_sessions
    inner join paces on fast_sessions.session_key = paces.session_key
    where
        paces.act_count >= {{ var('bot_pace_events') }}
        and fast_sessions.duration_ms < {{ var('bot_pace_mean_gap_seconds') }} * 1000 * (paces.act_count - 1)

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
