-- What was loaded from which file; empty where the events were in the warehouse already.
with source as (

    select
        load_number,
        load_id,
        raw_table,
        line_count,
        accepted_count,
        rejected_count,
        ignored_count,
        coalesce(is_synthetic, 0) as is_synthetic,
        loaded_at as loaded_ms
    from {{ optional_source('raw_loads', {
        'load_number': to_bigint, 'load_id': to_short_text, 'raw_table': to_short_text, 'line_count': to_bigint, 'accepted_count': to_bigint,
        'rejected_count': to_bigint, 'ignored_count': to_bigint, 'is_synthetic': to_integer,
        'loaded_at': timestamp_to_ms,
    }) }} as raw_loads

)

select
    load_number,
    load_id,
    raw_table,
    line_count,
    accepted_count,
    rejected_count,
    ignored_count,
    is_synthetic,
    loaded_ms
from source
