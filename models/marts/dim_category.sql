{{ config(post_hook="{{ tell_rootless_categories(this) }}") }}
-- Ancestors are looked up level by level rather than by recursion, which not every engine has.
with tree as (

    select * from {{ ref('stg_categories') }}

),

-- It has a row for every category and day that an event names.
events as (

    select * from {{ ref('int_category_price_daily') }}

),

-- A category that only an event or a child names is a root of its own.
named as (

    select category_id from tree
    union
    select parent_category_id as category_id
    from tree
    where parent_category_id is not null
    union
    select category_id
    from events
    where category_id is not null

),

level_0 as (

    select
        named.category_id,
        tree.parent_category_id,
        named.category_id as root_category_id,
        tree.parent_category_id as next_ancestor_id,
        0 as depth
    from named
    left join tree on named.category_id = tree.category_id

),
{% for level in range(1, var('category_max_depth') + 1) %}
level_{{ level }} as (

    select
        below.category_id,
        below.parent_category_id,
        coalesce(below.next_ancestor_id, below.root_category_id) as root_category_id,
        tree.parent_category_id as next_ancestor_id,
        case when below.next_ancestor_id is null then below.depth else below.depth + 1 end as depth
    from level_{{ level - 1 }} as below
    left join tree on below.next_ancestor_id = tree.category_id

),
{% endfor %}
-- What still has an ancestor after the deepest level allowed is too deep or goes in a circle: it stands alone.
final as (

    select
        category_id,
        case when next_ancestor_id is null then parent_category_id end as parent_category_id,
        case when next_ancestor_id is null then root_category_id else category_id end as root_category_id,
        {{ to_integer('case when next_ancestor_id is null then depth else 0 end') }} as depth,
        case when category_id = root_category_id or next_ancestor_id is not null then 1 else 0 end as is_root,
        case when next_ancestor_id is null then 1 else 0 end as is_complete
    from level_{{ var('category_max_depth') }}

)

select * from final
