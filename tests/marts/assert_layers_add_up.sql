-- Grain: one row, only if two marts tell the same thing differently. Events in = events in sessions; sessions =
-- funnels; an event is a step or repeats an order; converting sessions = distinct sessions with a transaction; the summary repeats them all.
with counts as (

    select
        (select count(*) from {{ ref('sessions') }}) as sessions,
        (select count(*) from {{ ref('session_funnels') }}) as funnels,
        (select session_count from {{ ref('dataset_summary') }}) as summary_sessions,
        (select sum(event_count) from {{ ref('sessions') }}) as events_in_sessions,
        (select event_count from {{ ref('dataset_summary') }}) as summary_events,
        (select sum({{ var('funnel_steps') | join('_count + ') }}_count) from {{ ref('sessions') }}) as steps,
        (
            select count(*)
            from {{ ref('int_order_repeats') }}
            where not ({{ var('exclude_bots') }} and visitor_key in (select bots.visitor_key from {{ ref('int_bot_visitors') }} as bots))
        ) as repeats,
        (
            select count(*)
            from {{ ref('int_events') }}
            where not ({{ var('exclude_bots') }} and visitor_key in (select bots.visitor_key from {{ ref('int_bot_visitors') }} as bots))
        ) as events,
        (select sum(has_transaction) from {{ ref('session_funnels') }}) as converting_funnels,
        (select converting_session_count from {{ ref('dataset_summary') }}) as summary_converting_sessions,
        (
            select count(distinct session_key)
            from {{ ref('int_session_events') }}
            where
                event_type = 'transaction'
                and is_repeated_order = 0
                and not ({{ var('exclude_bots') }} and visitor_key in (select bots.visitor_key from {{ ref('int_bot_visitors') }} as bots))
        ) as sessions_with_transaction

)

select *
from counts
where
    sessions <> funnels
    or sessions <> summary_sessions
    or events_in_sessions <> events
    or events_in_sessions <> summary_events
    or events_in_sessions <> steps + repeats
    or converting_funnels <> sessions_with_transaction
    or converting_funnels <> summary_converting_sessions
