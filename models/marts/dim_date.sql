-- Every local day from the first event of a plausible time to the last, days without events too, and every day of the
-- others.
with clock as (

    select * from {{ ref('int_clock') }}

),

bounds as (

    select
        {{ local_day_number('first_plausible_ms') }} as first_day,
        {{ local_day_number('high_water_mark_ms') }} as last_day
    from clock

),

digits as (

    {%- for digit in range(10) %}
    select {{ digit }} as digit
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

numbers as (

    select
        ones.digit + 10 * tens.digit + 100 * hundreds.digit + 1000 * thousands.digit
        + 10000 * ten_thousands.digit as number
    from digits as ones
    cross join digits as tens
    cross join digits as hundreds
    cross join digits as thousands
    cross join digits as ten_thousands

),

days as (

    select bounds.first_day + numbers.number as day_number
    from bounds
    inner join numbers on bounds.first_day + numbers.number <= bounds.last_day
    union
    select {{ local_day_number('events.event_ms') }} as day_number
    from clock
    inner join {{ ref('int_events') }} as events
        on clock.first_plausible_ms > events.event_ms or clock.high_water_mark_ms < events.event_ms
    where clock.early_event_count + clock.late_event_count > 0

),

dated as (

    select
        day_number,
        {{ day_number_to_date('day_number') }} as date_day,
        {{ weekday('day_number') }} as weekday
    from days

)

select
    date_day,
    case weekday
        when 1 then 'Monday' when 2 then 'Tuesday' when 3 then 'Wednesday' when 4 then 'Thursday'
        when 5 then 'Friday' when 6 then 'Saturday' when 7 then 'Sunday'
    end as weekday_name,
    {{ to_integer('extract(year from date_day)') }} as year_number,
    {{ to_integer('extract(month from date_day)') }} as month_number,
    {{ to_integer('weekday') }} as weekday_number,
    case when weekday >= 6 then 1 else 0 end as is_weekend,
    {{ day_number_to_date('day_number - weekday + 1') }} as week_start_date,
    {{ day_number_to_date('day_number - extract(day from date_day) + 1') }} as month_start_date
from dated
