-- Grain: one row, only if the accepted lines of the loads are not the rows of the raw table, or staging holds other
-- visitors, assignments or conflicts than the raw table. Guards: nobody is dropped from the experiment or changes the arm.
with accepted as (

    select
        count(*) as loads,
        sum(accepted_count) as accepted_count
    from {{ ref('stg_loads') }}
    where raw_table = 'raw_treatment_assignments'

),

raw_visitors as (

    select
        visitorid,
        count(*) as assignment_count,
        count(distinct concat(treatment, ' ', coalesce(offer, ''))) as arms
    from {{ optional_source('raw_treatment_assignments', {
        'visitorid': to_short_text, 'treatment': to_integer, 'offer': to_short_text,
    }) }} as raw_treatment_assignments
    group by visitorid

),

raw_rows as (

    select
        count(*) as visitors,
        coalesce(sum(assignment_count), 0) as assignments,
        count(case when arms > 1 then 1 end) as conflicts
    from raw_visitors

),

staged as (

    select
        count(*) as visitors,
        coalesce(sum(assignment_count), 0) as assignments,
        coalesce(sum(has_conflict), 0) as conflicts
    from {{ ref('stg_treatment_assignments') }}

)

select
    accepted.accepted_count,
    raw_rows.assignments as raw_assignments,
    staged.assignments as staged_assignments,
    raw_rows.visitors as raw_visitors,
    staged.visitors as staged_visitors,
    raw_rows.conflicts as raw_conflicts,
    staged.conflicts as staged_conflicts
from accepted
cross join raw_rows
cross join staged
where
    (accepted.loads > 0 and accepted.accepted_count <> raw_rows.assignments)
    or staged.assignments <> raw_rows.assignments
    or staged.visitors <> raw_rows.visitors
    or staged.conflicts <> raw_rows.conflicts
