{#- What stands in the way of a page, and how to get it. -#}
{%- set gaps = [
    ('summary.converting_session_count = 0', 'No conversions in the data: nothing to predict or to value.'),
    ('summary.implausible_event_count > 0', 'Some events have an implausible time, from wrong clocks (docs/loading.md).'),
    ('days.day_count < 2', 'Only one day of data: no trend.'),
    ('present.has_prices = 0', 'No prices: revenue and lost value are 0 because nobody knows them (docs/loading.md).'),
    ('present.has_predictions = 0', 'No predictions: run python -m ml.train.'),
    ('scored.build_number <> built.build_number', 'The predictions are older than the data: run python -m ml.score.'),
    ('present.has_uplift = 0', 'No uplift: run python -m ml.train.'),
    ('present.has_roi = 0 and present.has_policies = 0 and present.has_uplift = 1', 'No money: run python -m ml.train --only policy.'),
    ('uplift.is_simulated = 1', 'No experiment: effects are simulated. Load one (docs/loading.md).'),
] -%}
with summary as (

    select * from {{ portable(ref('dataset_summary')) }}

),

days as (

    select count(*) as day_count from {{ portable(ref('bi_dates')) }}

),

-- Whether, not how many: on MySQL a count reads the whole table. An unknown price counts 0, so one that is known shows.
present as (

    select
        {%- for name, table in {
            'predictions': 'conversion_predictions', 'uplift': 'uplift_scores', 'roi': 'roi_projection',
            'policies': 'policy_values'
        }.items() %}
        case
            when exists (select 1 from {{ portable(ref(table)) }}) then 1
            else 0
        end as has_{{ name }},
        {%- endfor %}
        case
            when
                exists (
                    select 1 from {{ portable(ref('dataset_summary')) }}
                    where revenue > 0 or refunded_value > 0
                )
                or exists (
                    select 1 from {{ portable(ref('bi_funnel_daily')) }}
                    where revenue_lost > 0
                )
                then 1
            else 0
        end as has_prices

),

conversion as (

    select * from {{ portable(ref('ml_runs')) }}
    where status = 'published'

),

latest_score as (

    select max(score_number) as score_number from {{ portable(ref('score_runs')) }}
    where scored_table = 'conversion_predictions'

),

scored as (

    select scores.build_number
    from {{ portable(ref('score_runs')) }} as scores
    inner join latest_score on scores.score_number = latest_score.score_number
    where scores.scored_table = 'conversion_predictions'

),

built as (

    select build_number from {{ portable(ref('last_build')) }}

),

uplift as (

    select * from {{ portable(ref('uplift_runs')) }}
    where status = 'published'

)

select
    conversion.run_id as conversion_run_id,
    conversion.model_version as conversion_model_version,
    conversion.champion,
    uplift.run_id as uplift_run_id,
    uplift.model_version as uplift_model_version,
    uplift.source as experiment_source,
    uplift.decision_point as experiment_decision_point,
    {{ json_text('uplift.config_json', '$.policy.cost_per') }} as cost_per,
    {{ json_text('uplift.config_json', '$.policy.value_column') }} as value_column,
    uplift.warnings_json,
    trim(
        concat(
            {%- for condition, text in gaps %}
            case when {{ condition }} then ' {{ text }}' else '' end
            {%- if not loop.last %},{% endif %}
            {%- endfor %}
        )
    ) as missing,
    summary.implausible_visitor_id,
    summary.event_count,
    summary.visitor_count,
    summary.session_count,
    summary.converting_session_count,
    {{ to_bigint('days.day_count') }} as day_count,
    summary.implausible_event_count,
    summary.revenue,
    conversion.feature_row_count as conversion_row_count,
    conversion.test_row_count as conversion_test_row_count,
    uplift.row_count as uplift_row_count,
    uplift.test_row_count as uplift_test_row_count,
    uplift.chosen_share_percent,
    uplift.break_even_share_percent,
    uplift.break_even_cost,
    {{ to_double(json_text('uplift.config_json', '$.policy.cost')) }} as unit_cost,
    {{ to_double(json_text('uplift.config_json', '$.policy.revenue_per_conversion')) }} as revenue_per_conversion,
    {{ to_double(json_text('uplift.config_json', '$.policy.margin')) }} as margin,
    {{ to_double(json_text('uplift.config_json', '$.policy.horizon_days')) }} as horizon_days,
    summary.is_synthetic,
    present.has_prices,
    present.has_predictions,
    present.has_uplift,
    present.has_roi,
    uplift.is_simulated,
    case when scored.build_number <> built.build_number then 1 else 0 end as is_model_behind_data,
    summary.first_plausible_at as data_from,
    summary.last_plausible_at as data_to,
    summary.implausible_event_at,
    conversion.finished_at as conversion_run_finished_at,
    uplift.finished_at as uplift_run_finished_at
from summary
cross join days
cross join present
left join conversion on 1 = 1
left join scored on 1 = 1
left join built on 1 = 1
left join uplift on 1 = 1
