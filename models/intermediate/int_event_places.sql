-- Sessions are cut here and nowhere else.
with neighbours as (

    select
        event_key,
        visitor_key,
        event_ms,
        lag(event_ms) over by_visitor as previous_ms,
        lead(event_ms) over by_visitor as next_ms
    from {{ touched(ref('int_events')) }}
    window by_visitor as (partition by visitor_key order by event_key)

),

bounds as (

    select
        event_key,
        visitor_key,
        previous_ms,
        case when previous_ms is null then 1 else 0 end as is_first_of_visitor,
        case when next_ms is null then 1 else 0 end as is_last_of_visitor,
        case when event_ms - previous_ms <= {{ var('session_timeout_seconds') }} * 1000 then 0 else 1 end
            as is_first_in_session,
        case when next_ms - event_ms <= {{ var('session_timeout_seconds') }} * 1000 then 0 else 1 end as is_last_in_session
    from neighbours

),

numbered as (

    select
        *,
        sum(is_first_in_session) over (
            partition by visitor_key order by event_key rows between unbounded preceding and current row
        ) as session_number
    from bounds

)

select
    event_key,
    {{ to_bigint(key_of('visitor_key', 'session_number')) }} as session_key,
    visitor_key,
    is_first_of_visitor,
    is_last_of_visitor,
    is_first_in_session,
    is_last_in_session,
    case when is_first_in_session = 0 then previous_ms end as previous_event_ms
from numbered
