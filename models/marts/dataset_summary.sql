{{ config(post_hook="{{ tell_wrong_clocks(this) }}") }}
with clock as (

    select * from {{ ref('int_clock') }}

),

sessions as (

    select
        count(*) as session_count,
        sum(is_new_visitor) as visitor_count,
        sum(event_count) as event_count,
        min(started_ms) as first_event_ms,
        max(ended_ms) as last_event_ms
    from {{ ref('sessions') }}

),

funnels as (

    select
        sum(has_addtocart) as cart_session_count,
        sum(has_transaction) as converting_session_count,
        sum(revenue) as revenue,
        sum(refunded_value) as refunded_value
    from {{ ref('session_funnels') }}

),

-- The sessions with an event of an implausible time, and one of them as an example.
strays as (

    select
        min(sessions.session_id) as session_id,
        coalesce(sum(sessions.event_count), 0) as event_count
    from clock
    inner join {{ ref('sessions') }} as sessions
        on clock.first_plausible_ms > sessions.started_ms or clock.high_water_mark_ms < sessions.ended_ms
    where clock.early_event_count + clock.late_event_count > 0

),

examples as (

    select
        strays.event_count,
        sessions.visitor_id,
        case
            when sessions.started_ms < clock.first_plausible_ms then sessions.started_ms
            else sessions.ended_ms
        end as event_ms
    from strays
    cross join clock
    left join {{ ref('sessions') }} as sessions on strays.session_id = sessions.session_id

),

loads as (

    select max(is_synthetic) as is_synthetic from {{ ref('stg_loads') }}

)

select
    {{ to_bigint('coalesce(sessions.event_count, 0)') }} as event_count,
    {{ to_bigint('coalesce(sessions.visitor_count, 0)') }} as visitor_count,
    sessions.session_count,
    {{ to_bigint('coalesce(funnels.cart_session_count, 0)') }} as cart_session_count,
    {{ to_bigint('coalesce(funnels.converting_session_count, 0)') }} as converting_session_count,
    {{ ratio('funnels.converting_session_count', 'sessions.session_count') }} as conversion_rate,
    {{ to_money('coalesce(funnels.revenue, 0)') }} as revenue,
    {{ to_money('coalesce(funnels.refunded_value, 0)') }} as refunded_value,
    coalesce(loads.is_synthetic, 0) as is_synthetic,
    {{ to_bigint('examples.event_count') }} as implausible_event_count,
    clock.first_plausible_ms,
    clock.high_water_mark_ms,
    examples.visitor_id as implausible_visitor_id,
    {{ ms_to_timestamp('examples.event_ms') }} as implausible_event_at,
    {{ ms_to_timestamp('clock.first_plausible_ms') }} as first_plausible_at,
    {{ ms_to_timestamp('clock.high_water_mark_ms') }} as last_plausible_at,
    {{ ms_to_timestamp('sessions.first_event_ms') }} as first_event_at,
    {{ ms_to_timestamp('sessions.last_event_ms') }} as last_event_at
from clock
cross join sessions
cross join funnels
cross join loads
cross join examples
