-- The categories of changed events, with the days of these events: those that the event carries, and all that its item
-- was ever told to have.
select
    category_id,
    day_number
from {{ ref('int_changed_events') }}
where category_id <> ''
union
select
    attributes.category_id,
    changes.day_number
from {{ ref('int_changed_events') }} as changes
inner join {{ ref('int_items') }} as items on changes.item_id = items.item_id
inner join {{ ref('int_item_attributes') }} as attributes on items.item_key = attributes.item_key
where attributes.category_id is not null
{{ and_unfinished(['category_id', 'day_number']) }}
