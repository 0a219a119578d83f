{{ config(materialized='table') }}
-- Only roots: sessions are told apart by the root category of the item they begin with. A table, because in a view a text
-- that is written out has another collation on MariaDB than the ids it stands beside.
select
    category_id,
    concat('Category ', category_id) as category_name
from {{ ref('dim_category') }}
where is_root = 1 and category_id <> 'unknown'

union all

select
    {{ to_short_text("'unknown'") }} as category_id,
    'Unknown category' as category_name
