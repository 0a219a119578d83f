with high_water as (

    select max(event_ms) as event_ms from {{ ref('int_events') }}

),

sessions as (

    select
        count(*) as session_count,
        count(distinct visitor_id) as visitor_count,
        sum(event_count) as event_count,
        min(started_ms) as first_event_ms,
        max(ended_ms) as last_event_ms
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
    {{ to_bigint('sessions.event_count') }} as event_count,
    sessions.visitor_count,
    sessions.session_count,
    {{ to_bigint('funnels.cart_session_count') }} as cart_session_count,
    {{ to_bigint('funnels.converting_session_count') }} as converting_session_count,
    {{ ratio('funnels.converting_session_count', 'sessions.session_count') }} as conversion_rate,
    {{ to_money('funnels.revenue') }} as revenue,
    coalesce(loads.is_synthetic, 0) as is_synthetic,
    high_water.event_ms as high_water_mark_ms,
    {{ ms_to_timestamp('sessions.first_event_ms') }} as first_event_at,
    {{ ms_to_timestamp('sessions.last_event_ms') }} as last_event_at
from high_water
cross join sessions
cross join funnels
cross join loads
