-- Trailing demand from closed days only: a row's windows end on the day before its own.
-- Every item seen on a day has a row for it, which is all that decisions of that day look up.
{%- set steps = var('funnel_steps') %}
with events as (

    select
        item_key,
        event_rank,
        is_repeated_order,
        {{ local_day_number('event_ms') }} as day_number
    from {{ touched(ref('int_event_items'), 'item_key', 'int_changed_items', are_few=false) }}
    where 1 = 1 {{ and_changed_days(local_day_number('event_ms'), days_before=28) }}

),

daily as (

    select
        {{ sorted_groups() }}
        item_key,
        day_number,
        sum(case when event_rank = {{ steps.index('view') + 1 }} then 1 else 0 end) as views,
        sum(case when event_rank = {{ steps.index('addtocart') + 1 }} then 1 else 0 end) as carts,
        sum(case when event_rank = {{ steps.index('transaction') + 1 }} and is_repeated_order = 0 then 1 else 0 end) as purchases
    from events
    group by item_key, day_number

),

views_windowed as (

    select
        item_key,
        day_number,
        sum(views) over last_7_days as views_7d,
        sum(views) over last_28_days as views_28d
    from daily
    window
        last_7_days as (partition by item_key order by day_number range between 7 preceding and 1 preceding),
        last_28_days as (partition by item_key order by day_number range between 28 preceding and 1 preceding)

),

-- Most items were never wanted: their windows would only add up zeros.
wanted_items as (

    select distinct item_key
    from events
    where event_rank > 1

),

wanted_windowed as (

    select
        daily.item_key,
        daily.day_number,
        sum(daily.carts) over last_7_days as carts_7d,
        sum(daily.purchases) over last_7_days as purchases_7d,
        sum(daily.carts) over last_28_days as carts_28d,
        sum(daily.purchases) over last_28_days as purchases_28d
    from wanted_items
    inner join daily on wanted_items.item_key = daily.item_key
    window
        last_7_days as (
            partition by daily.item_key order by daily.day_number range between 7 preceding and 1 preceding
        ),
        last_28_days as (
            partition by daily.item_key order by daily.day_number range between 28 preceding and 1 preceding
        )

)

select
    views_windowed.item_key,
    {%- for count in ['views_7d', 'views_28d'] %}
    {{ to_bigint('coalesce(views_windowed.' ~ count ~ ', 0)') }} as {{ count }},
    {%- endfor %}
    {%- for count in ['carts_7d', 'purchases_7d', 'carts_28d', 'purchases_28d'] %}
    {{ to_bigint('coalesce(wanted_windowed.' ~ count ~ ', 0)') }} as {{ count }},
    {%- endfor %}
    views_windowed.day_number,
    {{ day_number_to_date('views_windowed.day_number') }} as demand_date
from views_windowed
left join wanted_windowed
    on
        views_windowed.item_key = wanted_windowed.item_key
        and views_windowed.day_number = wanted_windowed.day_number
where 1 = 1 {{ and_changed_days('views_windowed.day_number') }}
