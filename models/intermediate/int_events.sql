-- Exact duplicates (every field equal) are one event that was written twice; everything else is kept.
-- event_key is the place in the one order of all events, so that a visitor's neighbouring events have neighbouring keys.
{{ raw_events_check() }}
with events as (

    select
        *,
        {{ to_integer(step_rank('event_type')) }} as event_rank
    from {{ ref('stg_events') }}

)

select
    {{ sorted_groups() }}
    {{ row_key('event_key', event_order()) }}
    visitor_id,
    item_id,
    transaction_id,
    own_category_id,
    event_type,
    event_rank,
    own_price,
    event_ms,
    {{ ms_to_timestamp('event_ms') }} as event_at
from events
group by visitor_id, event_ms, event_rank, item_id, transaction_id, own_price, own_category_id, event_type
{{ row_key_order(event_order()) }}
