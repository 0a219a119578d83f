-- Root categories as whole numbers that are given once: Power BI keeps old partitions, and relates them by these.
with roots as (

    select category_id
    from {{ ref('dim_category') }}
    where is_root = 1 and category_id <> 'unknown'
    union all
    select {{ to_short_text("'unknown'") }} as category_id

),

new_roots as (

    select roots.category_id
    from roots
    {%- if is_touched_build() %}
    left join {{ this }} as known on roots.category_id = known.category_id
    where known.category_id is null
    {%- endif %}

)

select
    {{ row_key('category_key', 'category_id') }}
    category_id
from new_roots
{{ row_key_order('category_id') }}
