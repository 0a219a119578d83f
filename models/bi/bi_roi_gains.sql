select
    strategy,
    versus,
    difference,
    ci_lower,
    ci_upper,
    case when ci_lower > 0 or ci_upper < 0 then 1 else 0 end as is_certain,
    run_id
from {{ portable(ref('roi_gains')) }}
