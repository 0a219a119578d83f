{{ config(materialized='table') }}
-- Only roots: sessions are told apart by the root category of the item they begin with. A table, because in a view a text
-- that is written out has another collation on MariaDB than the ids it stands beside.
-- Power BI takes Shoes and shoes for one text: relations need a number, and the second one a name of its own.
with numbered as (

    select
        roots.category_id,
        roots.category_key,
        row_number() over (partition by lower(roots.category_id) order by roots.category_id) as twin_number
    from {{ ref('int_root_categories') }} as roots
    left join {{ ref('dim_category') }} as categories on roots.category_id = categories.category_id
    -- A root that is none any more keeps its number, and has no row.
    where roots.category_id = 'unknown' or categories.is_root = 1

)

select
    category_id,
    case
        when category_id = 'unknown' then 'Unknown category'
        when twin_number = 1 then concat('Category ', category_id)
        else concat('Category ', category_id, ' (', {{ to_text('twin_number') }}, ')')
    end as category_name,
    {{ to_bigint('category_key') }} as category_key
from numbered
