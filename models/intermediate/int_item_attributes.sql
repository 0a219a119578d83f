-- Item facts as valid ranges: a range starts where any of the three properties is told anew.
-- The last range ends in the year 9999, not in a null: `or valid_to_ms is null` would cost its readers the hash join.
-- Only items that somebody met: nothing else is ever looked up.
with properties as (

    select
        items.item_key,
        properties.property,
        properties.property_value,
        properties.known_from_ms
    from {{ ref('stg_item_properties') }} as properties
    inner join {{ touched(ref('int_items'), 'item_key', 'int_changed_items', alias='items') }} on properties.item_id = items.item_id

),

moments as (

    select
        {{ sorted_groups() }}
        item_key,
        known_from_ms as valid_from_ms,
        max(case when property = '{{ var("price_property") }}' then property_value end) as price_text,
        max(case when property = '{{ var("category_property") }}' then property_value end) as category_text,
        max(case when property = '{{ var("availability_property") }}' then property_value end) as availability_text
    from properties
    group by item_key, known_from_ms

),

-- The moment, padded to 15 digits, goes in front of the value: the greatest such text so far is the latest value told.
carried as (

    select
        item_key,
        valid_from_ms,
        {%- for name in ['price', 'category', 'availability'] %}
        max(
            case
                when {{ name }}_text is not null
                    then {{ join_text(["lpad(" ~ to_text('valid_from_ms') ~ ", 15, '0')", name ~ '_text']) }}
            end
        ) over (
            partition by item_key order by valid_from_ms rows between unbounded preceding and current row
        ) as {{ name }}_told,
        {%- endfor %}
        coalesce(lead(valid_from_ms) over (partition by item_key order by valid_from_ms), 253402300799999) as valid_to_ms
    from moments

),

told as (

    select
        item_key,
        valid_from_ms,
        valid_to_ms,
        {{ to_short_text('substr(price_told, 16)') }} as price_text,
        {{ to_short_text('substr(category_told, 16)') }} as category_id,
        substr(availability_told, 16) as availability_text
    from carried

),

priced as (

    select
        *,
        {{ try_to_money("case when price_text like 'n%' then substr(price_text, 2) else price_text end") }} as price
    from told

)

select
    item_key,
    category_id,
    case when price >= 0 then price end as price,
    case availability_text when '1' then 1 when '0' then 0 end as is_available,
    valid_from_ms,
    valid_to_ms
from priced
