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
        {%- for days in [7, 28] %}
        {%- set outer_loop = loop %}
        {%- for what in ['views', 'carts', 'purchases'] %}
        sum({{ what }}) over (
            partition by item_id order by day_number range between {{ days }} preceding and 1 preceding
        ) as {{ what }}_{{ days }}d
        {%- if not (loop.last and outer_loop.last) %},{% endif %}
        {%- endfor %}
        {%- endfor %}
    from daily

)

select
    item_id,
    {%- for days in [7, 28] %}
    {%- for what in ['views', 'carts', 'purchases'] %}
    {{ to_bigint('coalesce(' ~ what ~ '_' ~ days ~ 'd, 0)') }} as {{ what }}_{{ days }}d,
    {%- endfor %}
    {%- endfor %}
    day_number,
    {{ day_number_to_date('day_number') }} as demand_date
from windowed
