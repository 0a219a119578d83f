select
    learner,
    {{ to_integer('decile') }} as decile,
    n_treatment,
    n_control,
    conversions_treatment,
    conversions_control,
    predicted_uplift,
    observed_uplift,
    ci_lower,
    ci_upper,
    true_uplift,
    is_simulated,
    run_id
from {{ portable(ref('uplift_deciles')) }}
