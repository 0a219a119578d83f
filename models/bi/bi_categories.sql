-- Only roots: sessions are told apart by the root category of the item they begin with.
select
    category_id,
    concat('Category ', category_id) as category_name
from {{ portable(ref('dim_category')) }}
where is_root = 1 and category_id <> 'unknown'

union all

select
    {{ to_short_text("'unknown'") }} as category_id,
    'Unknown category' as category_name
