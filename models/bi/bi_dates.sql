select
    date_day,
    weekday_name,
    year_number,
    month_number,
    weekday_number,
    is_weekend,
    week_start_date,
    month_start_date
from {{ portable(ref('dim_date')) }}
