-- The events that name an order: few, so that the sessions of an order are found without a look at every event.
select
    events.event_key,
    events.visitor_key,
    places.session_key,
    events.transaction_id,
    visitors.visitor_id,
    events.event_ms
from {{ touched(ref('int_events'), alias='events') }}
inner join {{ ref('int_event_places') }} as places
    on
        events.visitor_key = places.visitor_key
        and events.event_key = places.event_key
inner join {{ ref('int_visitors') }} as visitors on events.visitor_key = visitors.visitor_key
where
    events.event_rank = {{ var('funnel_steps').index('transaction') + 1 }}
    and events.transaction_id <> ''
