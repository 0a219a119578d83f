{%- set breakdowns = {'all': "'all'", 'visitor_type': visitor_type(), 'category': 'category_id'} %}
{%- set key = ['day_number', 'breakdown', 'breakdown_value', 'step_number'] %}
with counts as (

    select
        totals.day_number,
        breakdowns.breakdown,
        {{ breakdown_value(breakdowns) }} as breakdown_value,
        totals.step_number,
        sum(totals.entered) as entered,
        sum(totals.converted) as converted,
        sum(totals.skipped) as skipped,
        sum(totals.revenue_lost) as revenue_lost
    from {{ ref('int_funnel_totals') }} as totals
    cross join {{ breakdown_names(breakdowns) }}
    where totals.step_number < {{ var('funnel_steps') | length }}
    group by totals.day_number, breakdowns.breakdown, breakdown_value, totals.step_number

),

times as (

    select
        steps.day_number,
        breakdowns.breakdown,
        {{ breakdown_value(breakdowns) }} as breakdown_value,
        steps.step_number,
        steps.seconds_to_next as seconds_to_convert
    from {{ ref('int_session_steps') }} as steps
    cross join {{ breakdown_names(breakdowns) }}
    where steps.seconds_to_next is not null

),

typical_times as (

    {{ medians('times', 'seconds_to_convert', key) }}

)

select
    {{ day_number_to_date('counts.day_number') }} as funnel_date,
    counts.breakdown,
    counts.breakdown_value,
    {{ step_name('counts.step_number') }} as step,
    {{ step_name('counts.step_number + 1') }} as next_step,
    {{ to_integer('counts.step_number') }} as step_number,
    {{ to_bigint('counts.entered') }} as entered,
    {{ to_bigint('counts.converted') }} as converted,
    {{ to_bigint('counts.skipped') }} as skipped,
    {{ to_bigint('counts.entered - counts.converted - counts.skipped') }} as dropped_off,
    {{ ratio('counts.converted', 'counts.entered') }} as conversion_rate,
    {{ ratio('counts.entered - counts.converted - counts.skipped', 'counts.entered') }} as dropoff_rate,
    typical_times.median_seconds_to_convert,
    {{ to_money('counts.revenue_lost') }} as revenue_lost
from counts
left join typical_times
    on
        counts.day_number = typical_times.day_number
        and counts.breakdown = typical_times.breakdown
        and counts.breakdown_value = typical_times.breakdown_value
        and counts.step_number = typical_times.step_number
