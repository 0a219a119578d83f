-- Grain: one row per step and breakdown whose values do not add up to the whole shop, in either funnel mart.
with daily as (

    select
        breakdown,
        step,
        sum(entered) as entered,
        sum(converted) as converted,
        sum(dropped_off) as dropped_off,
        sum(revenue_lost) as revenue_lost
    from {{ ref('funnel_daily') }}
    group by breakdown, step

),

whole_time as (

    select
        breakdown,
        step,
        sum(entered) as entered,
        sum(converted) as converted,
        sum(dropped_off) as dropped_off,
        sum(revenue_lost) as revenue_lost
    from {{ ref('funnel_dropoff') }}
    group by breakdown, step

),

both_marts as (

    select * from daily
    union all
    select * from whole_time

),

whole_shop as (

    {%- for step in var('funnel_steps')[:-1] %}
    select
        '{{ step }}' as step,
        sum(has_{{ step }}) as entered,
        sum(has_{{ step }} * has_{{ var('funnel_steps')[loop.index] }}) as converted,
        sum(case when has_{{ step }} = 1 and furthest_step_number = {{ loop.index }} then 1 else 0 end) as dropped_off,
        sum(case when furthest_step = '{{ step }}' then abandoned_value else 0 end) as revenue_lost
    from {{ ref('session_funnels') }}
    {% if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

)

select
    both_marts.breakdown,
    both_marts.step,
    both_marts.entered,
    whole_shop.entered as expected_entered,
    both_marts.converted,
    whole_shop.converted as expected_converted,
    both_marts.dropped_off,
    whole_shop.dropped_off as expected_dropped_off,
    both_marts.revenue_lost,
    whole_shop.revenue_lost as expected_revenue_lost
from both_marts
inner join whole_shop on both_marts.step = whole_shop.step
where
    both_marts.entered <> whole_shop.entered
    or both_marts.converted <> whole_shop.converted
    or both_marts.dropped_off <> whole_shop.dropped_off
    or both_marts.revenue_lost <> whole_shop.revenue_lost
