{{ config(materialized='table') }}
-- Only roots: sessions are told apart by the root category of the item they begin with. A table, because in a view a text
-- that is written out has another collation on MariaDB than the ids it stands beside.
-- Power BI takes Shoes and shoes for one text: relations need a number, and the second one a name of its own.
with roots as (

    select category_id
    from {{ ref('dim_category') }}
    where is_root = 1 and category_id <> 'unknown'
    union all
    select {{ to_short_text("'unknown'") }} as category_id

),

numbered as (

    select
        category_id,
        row_number() over (order by category_id) as category_key,
        row_number() over (partition by lower(category_id) order by category_id) as twin_number
    from roots

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
