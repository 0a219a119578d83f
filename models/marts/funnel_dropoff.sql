{%- set breakdowns = {
    'all': "'all'", 'visitor_type': 'visitor_type', 'category': 'category', 'weekday': 'weekday', 'hour': 'started_hour',
} %}
{%- set key = ['breakdown', 'breakdown_value', 'step_number'] %}
with session_steps as (

    select
        steps.*,
        case when steps.is_new_visitor = 1 then 'new' else 'returning' end as visitor_type,
        coalesce(categories.root_category_id, 'unknown') as category,
        {{ to_text(weekday(local_day_number('steps.started_ms'))) }} as weekday,
        lpad({{ to_text(local_hour('steps.started_ms')) }}, 2, '0') as started_hour
    from {{ ref('int_session_steps') }} as steps
    left join {{ ref('dim_category') }} as categories on steps.entry_category_id = categories.category_id
    where steps.step_number < {{ var('funnel_steps') | length }}

),

-- Sums run on a small table of totals first, so that a further breakdown costs next to nothing.
totals as (

    select
        visitor_type,
        category,
        weekday,
        started_hour,
        step_number,
        count(*) as entered,
        sum(is_next_entered) as converted,
        sum(value_left) as revenue_lost
    from session_steps
    group by visitor_type, category, weekday, started_hour, step_number

),

counts as (

    select
        breakdowns.breakdown,
        {{ breakdown_value(breakdowns) }} as breakdown_value,
        totals.step_number,
        sum(totals.entered) as entered,
        sum(totals.converted) as converted,
        sum(totals.revenue_lost) as revenue_lost
    from totals
    cross join {{ breakdown_names(breakdowns) }}
    group by breakdowns.breakdown, breakdown_value, totals.step_number

),

times as (

    select
        breakdowns.breakdown,
        {{ breakdown_value(breakdowns) }} as breakdown_value,
        session_steps.step_number,
        session_steps.seconds_to_next as seconds_to_convert
    from session_steps
    cross join {{ breakdown_names(breakdowns) }}
    where session_steps.seconds_to_next is not null

),

typical_times as (

    {{ medians('times', 'seconds_to_convert', key) }}

)

select
    counts.breakdown,
    counts.breakdown_value,
    {{ step_name('counts.step_number') }} as step,
    {{ step_name('counts.step_number + 1') }} as next_step,
    {{ to_integer('counts.step_number') }} as step_number,
    {{ to_bigint('counts.entered') }} as entered,
    {{ to_bigint('counts.converted') }} as converted,
    {{ to_bigint('counts.entered - counts.converted') }} as dropped_off,
    {{ ratio('counts.converted', 'counts.entered') }} as conversion_rate,
    {{ ratio('counts.entered - counts.converted', 'counts.entered') }} as dropoff_rate,
    typical_times.median_seconds_to_convert,
    {{ to_money('counts.revenue_lost') }} as revenue_lost
from counts
left join typical_times
    on
        counts.breakdown = typical_times.breakdown
        and counts.breakdown_value = typical_times.breakdown_value
        and counts.step_number = typical_times.step_number
