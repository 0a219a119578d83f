with events as (

    select
        count(*) as event_count,
        min(event_ms) as first_event_ms,
        max(event_ms) as last_event_ms
    from {{ ref('stg_events') }}

),

sessions as (

    select
        count(*) as session_count,
        count(distinct visitor_id) as visitor_count,
        sum(event_count) as session_event_count
    from {{ ref('sessions') }}

),

funnels as (

    select
        sum(has_addtocart) as cart_session_count,
        sum(has_transaction) as converting_session_count,
        sum(revenue) as revenue
    from {{ ref('session_funnels') }}

),

loads as (

    select max(is_synthetic) as is_synthetic from {{ ref('stg_loads') }}

)

select
    {{ to_bigint('events.event_count') }} as event_count,
    {{ to_bigint('sessions.session_event_count') }} as session_event_count,
    sessions.visitor_count,
    sessions.session_count,
    {{ to_bigint('funnels.cart_session_count') }} as cart_session_count,
    {{ to_bigint('funnels.converting_session_count') }} as converting_session_count,
    {{ ratio('funnels.converting_session_count', 'sessions.session_count') }} as conversion_rate,
    funnels.revenue,
    coalesce(loads.is_synthetic, 0) as is_synthetic,
    events.last_event_ms as high_water_mark_ms,
    {{ ms_to_timestamp('events.first_event_ms') }} as first_event_at,
    {{ ms_to_timestamp('events.last_event_ms') }} as last_event_at
from events
cross join sessions
cross join funnels
cross join loads
