-- The items whose facts or whose demand may have changed.
-- depends_on: {{ ref('build_loads') }}
with items as (

    select item_id from {{ ref('int_changed_events') }}
    union
    select item_id
    from {{ ref('stg_item_properties') }}
    where load_number in ({{ loads_that_are('new', 'raw_item_properties') }})

)

select
    known.item_key,
    known.item_id
from items
inner join {{ ref('int_items') }} as known on items.item_id = known.item_id
{{ and_unfinished(['item_key', 'item_id']) }}
