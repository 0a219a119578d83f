select
    replicate,
    n_control,
    n_treatment,
    conversions_control,
    conversions_treatment,
    measured_lift,
    ci_lower,
    ci_upper,
    p_value,
    is_significant,
    is_simulated,
    run_id
from {{ portable(ref('ab_test_simulation')) }}
