-- A category named twice keeps its greatest parent, so that the tree is one tree on every engine.
with source as (

    select
        categoryid as category_id,
        max(nullif(parentid, '')) as parent_category_id
    from {{ optional_source('raw_category_tree', {'categoryid': to_short_text, 'parentid': to_short_text}) }} as raw_category_tree
    group by categoryid

)

select
    category_id,
    parent_category_id
from source
