-- Exact duplicates (every field equal) are one event that was written twice. Of the events with one id of the shop's own
-- the last one sent counts. Everything else is kept.
-- A visitor's events are numbered in their order, so that neighbouring events have neighbouring keys. Narrow, because all
-- heavy steps read it: the texts of ids stand in int_visitors and int_items.
{{ raw_events_check() }}
-- depends_on: {{ ref('stg_refunds') }}
with sent as (

    select * from {{ touched(ref('stg_events'), 'visitor_id') }}

),
{% if has_event_ids() %}
-- Of all visitors: an event may have been sent again as another one's.
last_sent as (

    {{ last_sent('sent') }}

),
{% endif %}
events as (

    select
        visitors.visitor_key,
        items.item_key,
        items.item_id,
        sent.transaction_id,
        sent.own_category_id,
        {{ to_integer(event_rank('sent.event_type')) }} as event_rank,
        sent.own_price,
        sent.quantity,
        sent.event_id,
        sent.load_number,
        sent.event_ms
    from sent
    inner join {{ ref('int_visitors') }} as visitors on sent.visitor_id = visitors.visitor_id
    inner join {{ ref('int_items') }} as items on sent.item_id = items.item_id
    {%- if has_event_ids() %}
    left join last_sent on sent.event_id = last_sent.event_id
    where sent.event_id is null or sent.place = last_sent.place
    {%- endif %}

),

-- Exact duplicates are peers in the events' order: all have one event_number, and only the first is at the place that its
-- peers have in common. One sort numbers the events and finds the duplicates.
numbered as (

    select
        *,
        dense_rank() over (partition by visitor_key order by {{ event_order() }}) as event_number,
        rank() over (partition by visitor_key order by {{ event_order() }}) as place_of_peers,
        row_number() over (partition by visitor_key order by {{ event_order() }}, load_number) as place
    from events

)

select
    {{ key_of('visitor_key', 'event_number') }} as event_key,
    visitor_key,
    item_key,
    transaction_id,
    own_category_id,
    event_rank,
    own_price,
    quantity,
    event_id,
    load_number,
    event_ms
from numbered
where place = place_of_peers
