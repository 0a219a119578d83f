-- Every local day from the first event's to the last one's, days without events too.
with bounds as (

    select
        min({{ local_day_number('event_ms') }}) as first_day,
        max({{ local_day_number('event_ms') }}) as last_day
    from {{ ref('int_events') }}

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

    select ones.digit + 10 * tens.digit + 100 * hundreds.digit + 1000 * thousands.digit as number
    from digits as ones
    cross join digits as tens
    cross join digits as hundreds
    cross join digits as thousands

),

days as (

    select bounds.first_day + numbers.number as day_number
    from bounds
    inner join numbers on bounds.first_day + numbers.number <= bounds.last_day

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
