-- Grain: one row, only if two marts tell the same thing differently. Events in = events in sessions; sessions =
-- funnels; an event is a step, repeats an order or takes something out of a cart; converting sessions = distinct sessions with a transaction; the summary repeats them all.
with sessions as (

    select
        count(*) as sessions,
        sum(event_count) as events_in_sessions,
        sum({{ var('funnel_steps') | join('_count + ') }}_count) as steps
    from {{ ref('sessions') }}

),

funnels as (

    select
        count(*) as funnels,
        sum(has_transaction) as converting_funnels
    from {{ ref('session_funnels') }}

),

summary as (

    select
        session_count as summary_sessions,
        event_count as summary_events,
        converting_session_count as summary_converting_sessions
    from {{ ref('dataset_summary') }}

),

events as (

    select
        count(*) as events,
        coalesce(sum(case when event_rank = {{ event_kinds().index('removefromcart') + 1 }} then 1 else 0 end), 0) as removals
    from {{ ref('int_events') }}
    where not ({{ var('exclude_bots') }} and visitor_key in (select bots.visitor_key from {{ ref('int_bot_visitors') }} as bots))

),

repeats as (

    select count(*) as repeats
    from {{ ref('int_order_repeats') }}
    where not ({{ var('exclude_bots') }} and visitor_key in (select bots.visitor_key from {{ ref('int_bot_visitors') }} as bots))

),

buyers as (

    select count(distinct session_key) as sessions_with_transaction
    from {{ ref('int_session_events') }}
    where
        event_type = 'transaction'
        and is_repeated_order = 0
        and not ({{ var('exclude_bots') }} and visitor_key in (select bots.visitor_key from {{ ref('int_bot_visitors') }} as bots))

),

counts as (

    select
        sessions.*,
        funnels.*,
        summary.*,
        events.*,
        repeats.*,
        buyers.*
    from sessions
    cross join funnels
    cross join summary
    cross join events
    cross join repeats
    cross join buyers

)

select *
from counts
where
    sessions <> funnels
    or sessions <> summary_sessions
    or events_in_sessions <> events
    or events_in_sessions <> summary_events
    or events_in_sessions <> steps + repeats + removals
    or converting_funnels <> sessions_with_transaction
    or converting_funnels <> summary_converting_sessions
