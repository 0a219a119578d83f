select
    cost,
    revenue_per_conversion,
    share_percent,
    profit,
    profit_ci_lower,
    profit_ci_upper,
    run_id
from {{ portable(ref('roi_sensitivity')) }}
