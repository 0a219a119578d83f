select
    curve.model,
    curve.slice,
    {{ to_integer('curve.bin') }} as bin,
    curve.mean_predicted,
    curve.observed_rate,
    curve.ci_lower,
    curve.ci_upper,
    curve.n_rows,
    curve.n_positives,
    case when curve.model = runs.champion then 1 else 0 end as is_champion,
    curve.run_id
from {{ portable(ref('calibration_curve')) }} as curve
left join {{ portable(ref('ml_runs')) }} as runs on curve.run_id = runs.run_id
