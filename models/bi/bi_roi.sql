with projection as (

    select * from {{ portable(ref('roi_projection')) }}

),

runs as (

    select
        run_id,
        {{ json_text('config_json', '$.policy.cost_per') }} as cost_per,
        {{ to_double(json_text('config_json', '$.policy.cost')) }} as unit_cost,
        {{ to_double(json_text('config_json', '$.policy.revenue_per_conversion')) }} as revenue_per_conversion,
        {{ to_double(json_text('config_json', '$.policy.margin')) }} as margin,
        {{ to_double(json_text('config_json', '$.policy.horizon_days')) }} as horizon_days,
        case when {{ json_text('config_json', '$.policy.value_column') }} is null then 0 else 1 end as is_valued_by_session
    from {{ portable(ref('uplift_runs')) }}

)

select
    projection.strategy,
    runs.cost_per,
    projection.share_percent,
    projection.n_rows,
    projection.n_targeted,
    projection.n_targeted_treatment,
    projection.n_targeted_control,
    projection.eligible_sessions,
    projection.targeted_sessions,
    projection.incremental_conversions,
    projection.incremental_conversions_ci_lower,
    projection.incremental_conversions_ci_upper,
    projection.incremental_conversions_se,
    projection.redemptions,
    projection.redemptions_se,
    projection.conversions_covariance,
    case runs.cost_per when 'contact' then projection.targeted_sessions else projection.redemptions end as cost_units,
    case runs.cost_per when 'contact' then 0 else projection.redemptions_se end as cost_units_se,
    case runs.cost_per when 'contact' then 0 else projection.conversions_covariance end as cost_units_covariance,
    projection.incremental_revenue,
    projection.incremental_margin,
    projection.cost,
    projection.profit,
    projection.profit_ci_lower,
    projection.profit_ci_upper,
    projection.profit_ipw,
    projection.profit_ipw_ci_lower,
    projection.profit_ipw_ci_upper,
    projection.roi,
    projection.roi_ci_lower,
    projection.roi_ci_upper,
    runs.unit_cost,
    runs.revenue_per_conversion,
    runs.margin,
    runs.horizon_days,
    runs.is_valued_by_session,
    projection.is_chosen,
    projection.is_simulated,
    projection.run_id
from projection
left join runs on projection.run_id = runs.run_id
