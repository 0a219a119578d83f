{{ config(materialized='touched', meta={'follows': 'raw_treatment_assignments'}) }}
-- A visitor who was assigned again keeps the first assignment; who was given two arms is marked, to be left out.
-- Of two arms in one millisecond the control counts as the first, on every engine.
with source as (

    select
        visitorid as visitor_id,
        assigned_at as assigned_ms,
        treatment,
        stratum,
        propensity,
        offer
    from {{ optional_source('raw_treatment_assignments', {
        'visitorid': to_short_text, 'assigned_at': to_bigint, 'treatment': to_integer, 'stratum': to_short_text,
        'propensity': to_double, 'offer': to_short_text,
    }) }} as raw_treatment_assignments

),

placed as (

    select
        visitor_id,
        assigned_ms,
        treatment,
        stratum,
        propensity,
        offer,
        row_number() over (
            partition by visitor_id
            order by assigned_ms, treatment, {{ nulls_first('offer') }}, {{ nulls_first('stratum') }}, {{ nulls_first('propensity') }}
        ) as place
    from source

)

select
    {{ sorted_groups() }}
    visitor_id,
    count(*) as assignment_count,
    max(case when place = 1 then treatment end) as treatment,
    max(case when place = 1 then stratum end) as stratum,
    max(case when place = 1 then propensity end) as propensity,
    max(case when place = 1 then offer end) as offer,
    case
        when min(treatment) < max(treatment) or min(coalesce(offer, '')) < max(coalesce(offer, '')) then 1
        else 0
    end as has_conflict,
    min(assigned_ms) as assigned_ms,
    {{ ms_to_timestamp('min(assigned_ms)') }} as assigned_at
from placed
group by visitor_id
