with decisions as (

    select * from {{ portable(ref('session_features')) }}

),

facts as (

    select * from {{ portable(ref('bi_session_facts')) }}

),

predictions as (

    select * from {{ portable(ref('conversion_predictions')) }}

)

select
    decisions.session_id,
    decisions.decision_point,
    facts.category_id,
    categories.category_key,
    facts.visitor_type,
    predictions.risk_band,
    predictions.reason_1,
    predictions.reason_2,
    predictions.reason_3,
    predictions.dataset_split,
    predictions.probability,
    predictions.abandon_probability,
    case predictions.risk_band when 'high' then 1 when 'medium' then 2 when 'low' then 3 end as risk_band_number,
    decisions.carted_value_so_far,
    decisions.carted_value_so_far * predictions.abandon_probability as abandoned_value_at_risk,
    case when decisions.is_mature = 1 then decisions.has_transaction end as has_transaction,
    decisions.is_mature as is_closed,
    case
        when predictions.dataset_split in ('test', 'new', 'open') then 1
        when predictions.dataset_split is not null then 0
    end as is_out_of_sample,
    case when facts.decision_point = decisions.decision_point then 1 else 0 end as is_latest,
    decisions.decided_date,
    decisions.decided_at
from decisions
{{ join_in_order() }} facts on decisions.session_id = facts.session_id
left join {{ portable(ref('bi_categories')) }} as categories on facts.category_id = categories.category_id
left join predictions
    on
        decisions.session_id = predictions.session_id
        and decisions.decision_point = predictions.decision_point
