-- What was loaded from which file; empty where the events were in the warehouse already.
with source as (

    select
        load_id,
        raw_table,
        line_count,
        accepted_count,
        rejected_count,
        ignored_count,
        coalesce(is_synthetic, false) as is_synthetic
    from {{ optional_source('raw_loads', {
        'load_id': 'varchar', 'raw_table': 'varchar', 'line_count': 'bigint', 'accepted_count': 'bigint',
        'rejected_count': 'bigint', 'ignored_count': 'bigint', 'is_synthetic': 'boolean',
    }) }} as raw_loads

)

select
    load_id,
    raw_table,
    line_count,
    accepted_count,
    rejected_count,
    ignored_count,
    case when is_synthetic then 1 else 0 end as is_synthetic
from source
