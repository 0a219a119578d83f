{{ config(materialized='table') }}
-- funnel_daily answers for one breakdown at a time; these rows can be added up over any of the three, which slicers do.
with totals as (

    select
        day_number,
        category_id,
        {{ visitor_type() }} as visitor_type,
        step_number,
        sum(entered) as entered,
        sum(converted) as converted,
        sum(skipped) as skipped,
        sum(revenue_lost) as revenue_lost
    from {{ ref('int_funnel_totals') }}
    group by 1, 2, 3, 4

)

select
    {{ day_number_to_date('totals.day_number') }} as funnel_date,
    totals.category_id,
    categories.category_key,
    totals.visitor_type,
    {{ step_name('step_number') }} as step,
    {{ step_name('step_number + 1') }} as next_step,
    {{ to_integer('step_number') }} as step_number,
    {{ to_bigint('entered') }} as entered,
    {{ to_bigint('converted') }} as converted,
    {{ to_bigint('skipped') }} as skipped,
    {{ to_bigint('entered - converted - skipped') }} as dropped_off,
    {{ to_money('revenue_lost') }} as revenue_lost,
    case when step_number = {{ var('funnel_steps') | length }} then 1 else 0 end as is_last_step
from totals
left join {{ ref('bi_categories') }} as categories on totals.category_id = categories.category_id
