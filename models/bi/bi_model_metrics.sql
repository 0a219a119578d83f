select
    metrics.model,
    metrics.slice,
    metrics.metric,
    metrics.value,
    metrics.ci_lower,
    metrics.ci_upper,
    metrics.n_rows,
    metrics.n_positives,
    metrics.n_visitors,
    case when metrics.model = runs.champion then 1 else 0 end as is_champion,
    metrics.run_id
from {{ portable(ref('model_metrics')) }} as metrics
left join {{ portable(ref('ml_runs')) }} as runs on metrics.run_id = runs.run_id
