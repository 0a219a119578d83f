-- Sessions are cut here and nowhere else. Windows run on a whole number for the visitor: text keys double their cost.
with events as (

    select * from {{ ref('stg_events') }}

),

visitors as (

    select
        visitor_id,
        row_number() over (order by visitor_id) as visitor_key
    from (select distinct visitor_id from events) as distinct_visitors

),

attributes as (

    select * from {{ ref('int_item_attributes') }}

),

keyed as (

    select
        visitors.visitor_key,
        events.*
    from events
    inner join visitors on events.visitor_id = visitors.visitor_id

),

ordered as (

    select
        *,
        row_number() over (partition by visitor_key order by {{ event_order() }}) as visitor_event_number,
        lag(event_ms) over (partition by visitor_key order by {{ event_order() }}) as previous_event_ms
    from keyed

),

cut as (

    select
        *,
        case
            when
                previous_event_ms is null
                or event_ms - previous_event_ms > {{ var('session_timeout_seconds') }} * 1000
                then 1
            else 0
        end as is_session_start
    from ordered

),

numbered as (

    select
        *,
        sum(is_session_start) over by_visitor as session_number,
        max(case when is_session_start = 1 then event_ms end) over by_visitor as session_started_ms,
        max(case when is_session_start = 1 then visitor_event_number end) over by_visitor as session_first_number
    from cut
    window by_visitor as (
        partition by visitor_key order by visitor_event_number rows between unbounded preceding and current row
    )

)

select
    {{ join_text(['numbered.visitor_id', "'-'", to_text('numbered.session_started_ms')]) }} as session_id,
    numbered.visitor_id,
    numbered.item_id,
    numbered.transaction_id,
    coalesce(numbered.own_category_id, attributes.category_id) as category_id,
    numbered.event_type,
    numbered.event_rank,
    {{ to_bigint('numbered.session_number') }} as session_number,
    numbered.visitor_event_number,
    numbered.visitor_event_number - numbered.session_first_number + 1 as event_number,
    coalesce(numbered.own_price, attributes.price) as price,
    attributes.is_available as item_is_available,
    case when numbered.is_session_start = 0 then numbered.previous_event_ms end as previous_event_ms,
    numbered.event_ms,
    numbered.event_at
from numbered
left join attributes
    on
        numbered.item_id = attributes.item_id
        and numbered.event_ms >= attributes.valid_from_ms
        and (numbered.event_ms < attributes.valid_to_ms or attributes.valid_to_ms is null)
