-- The one place where the funnel marts count sessions: each adds these rows up over what it does not tell apart.
select
    day_number,
    started_hour,
    category_id,
    is_new_visitor,
    step_number,
    {{ to_bigint('count(*)') }} as entered,
    {{ to_bigint('sum(is_next_entered)') }} as converted,
    {{ to_bigint('sum(is_next_skipped)') }} as skipped,
    sum(value_left) as revenue_lost
from {{ ref('int_session_steps') }}
group by day_number, started_hour, category_id, is_new_visitor, step_number
