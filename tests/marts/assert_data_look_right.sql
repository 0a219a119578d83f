-- Grain: one row per thing that looks wrong about the data: a sentence. Guards: what `python -m ingest check` warns of is
-- told after a load too. It warns and stops nothing, for each may be right.
{{ config(severity='warn') }}
{%- set null_texts -%}
'NA', 'N/A', 'n/a', '(not set)', '(null)', 'null', 'NULL', 'None', 'nan', 'NaN', 'undefined'
{%- endset %}
{%- set ids = {
    'visitors': (looked_at(ref('int_visitors')), 'visitor_id'),
    'items': (ref('int_items'), 'item_id'),
    'orders': (looked_at(ref('int_events')), 'transaction_id'),
} %}
with summary as (

    select * from {{ ref('dataset_summary') }}

),

visitors as (

    select
        visitor_key,
        min(visitor_id) as visitor_id,
        sum(event_count) as event_count
    from {{ looked_at(ref('int_session_totals')) }}
    group by visitor_key

),

-- How prices end that were made to look small.
prices as (

    select
        count(own_price) as price_count,
        count(case when mod(own_price, 1) = 0 then 1 end) as whole_count,
        count(case when own_price >= 500 then 1 end) as large_count,
        count(case when mod(own_price, 100) in (99, 95, 90, 50, 49) then 1 end) as ending_count
    from {{ looked_at(ref('int_events')) }}

),

busy_days as (

    select distinct funnel_date from {{ ref('funnel_daily') }}

),

quiet_days as (

    select
        count(*) as day_count,
        min(dates.date_day) as first_day
    from {{ ref('dim_date') }} as dates
    cross join summary
    left join busy_days as busy on dates.date_day = busy.funnel_date
    where
        busy.funnel_date is null
        and dates.date_day > cast(summary.first_plausible_at as date)
        and dates.date_day < cast(summary.last_plausible_at as date)

),

lost_parents as (

    select
        count(*) as category_count,
        min(categories.parent_category_id) as parent_category_id
    from {{ ref('stg_categories') }} as categories
    left join {{ ref('stg_categories') }} as parents on categories.parent_category_id = parents.category_id
    where categories.parent_category_id is not null and parents.category_id is null

),

lost_refunds as (

    select
        count(*) as refund_count,
        min(transaction_id) as transaction_id,
        min(visitor_id) as visitor_id
    from {{ ref('int_refunds') }}
    where session_key is null

),

orders as (

    select
        count(*) as line_count,
        (select count(*) from {{ ref('int_order_repeats') }}) as repeat_count
    from {{ ref('int_order_events') }}

),

-- Those that have several items.
wide_orders as (

    select
        transaction_id,
        min(own_price) as lowest_price,
        max(own_price) as highest_price
    from {{ looked_at(ref('int_events')) }}
    where transaction_id is not null and own_price is not null
    group by transaction_id
    having min(item_key) < max(item_key)

),

orders_by_case as (

    select
        min(transaction_id) as transaction_id,
        max(transaction_id) as other_id
    from {{ ref('int_order_events') }}
    group by lower(transaction_id)

),

complaints as (

    {%- for name, (relation, id) in ids.items() %}
    select {{ join_text(["'" ~ name ~ " have the id '", id, "': say null_values in the mapping if it means nothing'"]) }} as complaint
    from {{ relation }}
    where
        {{ id }} in ({{ null_texts }})
        -- A backslash in a text is read in two ways.
        or (ascii({{ id }}) = 92 and {{ id }} like '_N')
    group by {{ id }}
    union all
    select {{ join_text(["'ids of " ~ name ~ " end in .0, such as '", "min(" ~ id ~ ")", "': 4000.0 and 4000 are two ids'"]) }}
    from {{ relation }}
    where {{ id }} like '%.0'
    having count(*) > 0
    union all
    select {{ join_text(["'ids of " ~ name ~ " look like '", "min(" ~ id ~ ")", "': a spreadsheet has rounded them'"]) }}
    from {{ relation }}
    where
        {{ id }} like '_.%E+%' or {{ id }} like '_.%e+%'
        -- A round number has no point: 1E+11.
        or {{ id }} like '_E+__' or {{ id }} like '_e+__'
    having count(*) > 0
    union all
    {%- endfor %}
    select {{ join_text(["'visitor '", "visitors.visitor_id", "' has more than a tenth of all events; a placeholder?'"]) }}
    from visitors
    cross join summary
    where summary.event_count >= 200 and visitors.event_count * 10 > summary.event_count
    union all
    select {{ join_text(["'all '", "price_count", "' prices are whole numbers and most end as cents do; are they cents?'"]) }}
    from prices
    where
        price_count >= 20 and price_count = whole_count
        and large_count * 2 > price_count and ending_count * 4 > price_count
    union all
    select {{ join_text(["'no session began on '", "day_count", "' days between the first and the last, such as '", "first_day"]) }}
    from quiet_days
    where day_count > 0
    union all
    select {{ join_text(
        ["category_count", "' categories hang under parents that are no category, such as '", "parent_category_id"]
    ) }}
    from lost_parents
    where category_count > 0
    union all
    select {{ join_text(["repeat_count", "' of '", "line_count", "' transactions repeat an order of another session'"]) }}
    from orders
    where line_count >= 20 and repeat_count * 10 > line_count
    union all
    select {{ join_text([
        "'all lines of an order have one price, in each of '", "count(*)", "' orders of several items, such as '",
        "min(transaction_id)", "': is it that of the whole order?'"
    ]) }}
    from wide_orders
    having
        count(*) >= 20
        and count(case when lowest_price < highest_price then 1 end) = 0
        and min(lowest_price) < max(lowest_price)
    union all
    select {{ join_text([
        "'orders '", "min(transaction_id)", "' and '", "min(other_id)", "' differ in case alone: they are two orders'"
    ]) }}
    from orders_by_case
    where transaction_id <> other_id
    having count(*) > 0
    union all
    select {{ join_text([
        "refund_count", "' refunds lower no revenue, for no purchase fits them, such as of order ('", "transaction_id",
        "') or visitor ('", "visitor_id", "')'"
    ]) }}
    from lost_refunds
    where refund_count > 0
    {%- for step, column in {'addtocart': 'cart_session_count', 'transaction': 'converting_session_count'}.items() %}
    union all
    select 'no event is {{ step }}'
    from summary
    where event_count > 0 and {{ column }} = 0
    {%- endfor %}

)

select complaint
from complaints
