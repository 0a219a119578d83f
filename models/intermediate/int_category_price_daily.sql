-- What an item of the category cost on average where shoppers met it, over the 28 closed days before each day.
with events as (

    select
        category_id,
        price,
        {{ local_day_number('event_ms') }} as day_number
    from {{ touched(ref('int_event_items'), 'category_id', 'int_changed_categories', are_few=false) }}
    where category_id is not null {{ and_changed_days(local_day_number('event_ms'), days_before=28) }}

),

daily as (

    select
        category_id,
        day_number,
        count(price) as priced_events,
        coalesce(sum(price), 0) as price_sum
    from events
    group by category_id, day_number

),

windowed as (

    select
        category_id,
        day_number,
        sum(priced_events) over by_category as priced_events_28d,
        sum(price_sum) over by_category as price_sum_28d
    from daily
    window by_category as (
        partition by category_id order by day_number range between 28 preceding and 1 preceding
    )

)

select
    category_id,
    {{ ratio('price_sum_28d', 'priced_events_28d') }} as mean_price_28d,
    day_number,
    {{ day_number_to_date('day_number') }} as price_date
from windowed
where 1 = 1 {{ and_changed_days() }}
