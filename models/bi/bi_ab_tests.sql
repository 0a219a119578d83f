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
    {{ to_integer('is_significant') }} as is_significant,
    {{ to_integer('is_simulated') }} as is_simulated,
    run_id
from {{ portable(ref('ab_test_simulation')) }}
