select
    decision_point,
    feature,
    label,
    feature_group,
    description,
    direction,
    {{ to_integer(adapter.quote('rank')) }} as feature_rank,
    mean_abs_shap,
    n_rows,
    run_id
from {{ portable(ref('shap_summary')) }}
