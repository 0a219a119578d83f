select
    learner,
    versus,
    metric,
    value,
    ci_lower,
    ci_upper,
    n_rows,
    n_treatment,
    n_control,
    case when ci_lower > 0 or ci_upper < 0 then 1 else 0 end as is_certain,
    is_simulated,
    run_id
from {{ portable(ref('uplift_metrics')) }}
