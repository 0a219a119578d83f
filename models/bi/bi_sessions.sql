with facts as (

    select * from {{ portable(ref('bi_session_facts')) }}

),

predictions as (

    select * from {{ portable(ref('conversion_predictions')) }}

),

scores as (

    select * from {{ portable(ref('uplift_scores')) }}

)

select
    facts.session_id,
    facts.visitor_id,
    facts.visitor_key,
    facts.category_id,
    categories.category_key,
    facts.visitor_type,
    facts.furthest_step,
    facts.decision_point,
    predictions.risk_band,
    predictions.reason_1,
    predictions.reason_2,
    predictions.reason_3,
    predictions.dataset_split,
    scores.quadrant,
    scores.segment,
    scores.dataset_split as uplift_split,
    facts.furthest_step_number,
    facts.started_hour,
    facts.event_count,
    facts.duration_seconds,
    facts.view_to_cart_seconds,
    facts.cart_to_transaction_seconds,
    facts.view_to_transaction_seconds,
    facts.revenue,
    facts.carted_value,
    facts.abandoned_value,
    predictions.probability,
    predictions.abandon_probability,
    case predictions.risk_band when 'high' then 1 when 'medium' then 2 when 'low' then 3 end as risk_band_number,
    scores.p_control,
    scores.p_treatment,
    scores.uplift,
    scores.uplift_percentile,
    scores.decile,
    case scores.quadrant
        when 'persuadable' then 1 when 'sure thing' then 2 when 'lost cause' then 3 when 'sleeping dog' then 4
    end as quadrant_number,
    scores.treatment,
    scores.outcome as experiment_outcome,
    {%- for step in var('funnel_steps') %}
    facts.has_{{ step }},
    {%- endfor %}
    facts.is_bot,
    facts.is_closed,
    1 - facts.is_closed as is_open,
    case
        when predictions.dataset_split in ('test', 'new', 'open') then 1
        when predictions.dataset_split is not null then 0
    end as is_out_of_sample,
    case
        when scores.dataset_split in ('test', 'outside', 'open') then 1
        when scores.dataset_split is not null then 0
    end as is_uplift_out_of_sample,
    scores.is_simulated as is_uplift_simulated,
    facts.started_date,
    facts.started_at,
    predictions.decided_at
from facts
left join {{ portable(ref('bi_categories')) }} as categories on facts.category_id = categories.category_id
left join predictions
    on
        facts.session_id = predictions.session_id
        and facts.decision_point = predictions.decision_point
left join scores on facts.session_id = scores.session_id
