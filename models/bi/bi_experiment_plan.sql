select
    share_percent,
    sessions_per_day,
    control_rate,
    expected_lift,
    sessions_per_arm,
    days_needed,
    days_short,
    smallest_lift_short,
    days_long,
    smallest_lift_long,
    is_simulated,
    run_id
from {{ portable(ref('experiment_plan')) }}
