{{ config(materialized='table') }}
-- funnel_daily answers for one breakdown at a time; these rows can be added up over any of the three, which slicers do.
with totals as (

    select
        {{ local_day_number('steps.started_ms') }} as day_number,
        coalesce(categories.root_category_id, 'unknown') as category_id,
        case when steps.is_new_visitor = 1 then 'new' else 'returning' end as visitor_type,
        steps.step_number,
        count(*) as entered,
        sum(steps.is_next_entered) as converted,
        sum(steps.value_left) as revenue_lost
    from {{ ref('int_session_steps') }} as steps
    left join {{ ref('dim_category') }} as categories on steps.entry_category_id = categories.category_id
    group by 1, 2, 3, 4

)

select
    {{ day_number_to_date('day_number') }} as funnel_date,
    category_id,
    visitor_type,
    {{ step_name('step_number') }} as step,
    {{ step_name('step_number + 1') }} as next_step,
    {{ to_integer('step_number') }} as step_number,
    {{ to_bigint('entered') }} as entered,
    {{ to_bigint('converted') }} as converted,
    {{ to_bigint('entered - converted') }} as dropped_off,
    {{ to_money('revenue_lost') }} as revenue_lost,
    case when step_number = {{ var('funnel_steps') | length }} then 1 else 0 end as is_last_step
from totals
