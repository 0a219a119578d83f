-- Trailing demand from closed days only: a row's windows end on the day before its own.
-- Every item seen on a day has a row for it, which is all that decisions of that day look up.
{{ config(mysql_spec='primary key (item_key, day_number)') }}
{%- set steps = var('funnel_steps') %}
with events as (

    select
        item_key,
        event_rank,
        {{ local_day_number('event_ms') }} as day_number
    from {{ ref('int_event_items') }}

),

daily as (

    select
        {{ sorted_groups() }}
        item_key,
        day_number,
        sum(case when event_rank = {{ steps.index('view') + 1 }} then 1 else 0 end) as views,
        sum(case when event_rank = {{ steps.index('addtocart') + 1 }} then 1 else 0 end) as carts,
        sum(case when event_rank = {{ steps.index('transaction') + 1 }} then 1 else 0 end) as purchases
    from events
    group by item_key, day_number

),

windowed as (

    select
        item_key,
        day_number,
        sum(views) over last_7_days as views_7d,
        sum(carts) over last_7_days as carts_7d,
        sum(purchases) over last_7_days as purchases_7d,
        sum(views) over last_28_days as views_28d,
        sum(carts) over last_28_days as carts_28d,
        sum(purchases) over last_28_days as purchases_28d
    from daily
    window
        last_7_days as (partition by item_key order by day_number range between 7 preceding and 1 preceding),
        last_28_days as (partition by item_key order by day_number range between 28 preceding and 1 preceding)

)

select
    item_key,
    {%- for count in ['views_7d', 'carts_7d', 'purchases_7d', 'views_28d', 'carts_28d', 'purchases_28d'] %}
    {{ to_bigint('coalesce(' ~ count ~ ', 0)') }} as {{ count }},
    {%- endfor %}
    day_number,
    {{ day_number_to_date('day_number') }} as demand_date
from windowed
