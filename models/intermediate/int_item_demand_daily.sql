-- Trailing demand from closed days only: a row's windows end on the day before its own.
-- Every item seen on a day has a row for it, which is all that decisions of that day look up.
with events as (

    select
        item_id,
        event_type,
        {{ local_day_number('event_ms') }} as day_number
    from {{ ref('stg_events') }}

),

daily as (

    select
        item_id,
        day_number,
        sum(case when event_type = 'view' then 1 else 0 end) as views,
        sum(case when event_type = 'addtocart' then 1 else 0 end) as carts,
        sum(case when event_type = 'transaction' then 1 else 0 end) as purchases
    from events
    group by item_id, day_number

),

windowed as (

    select
        item_id,
        day_number,
        sum(views) over last_7_days as views_7d,
        sum(carts) over last_7_days as carts_7d,
        sum(purchases) over last_7_days as purchases_7d,
        sum(views) over last_28_days as views_28d,
        sum(carts) over last_28_days as carts_28d,
        sum(purchases) over last_28_days as purchases_28d
    from daily
    window
        last_7_days as (partition by item_id order by day_number range between 7 preceding and 1 preceding),
        last_28_days as (partition by item_id order by day_number range between 28 preceding and 1 preceding)

)

select
    item_id,
    {%- for count in ['views_7d', 'carts_7d', 'purchases_7d', 'views_28d', 'carts_28d', 'purchases_28d'] %}
    {{ to_bigint('coalesce(' ~ count ~ ', 0)') }} as {{ count }},
    {%- endfor %}
    day_number,
    {{ day_number_to_date('day_number') }} as demand_date
from windowed
