-- Grain: one row, only if the accepted lines of the loads are not the rows of the raw table, or staging holds another
-- number of distinct events. Guards: nothing is lost between the files and the models.
with accepted as (

    select
        count(*) as loads,
        sum(accepted_count) as accepted_count
    from {{ ref('stg_loads') }}
    where raw_table = 'raw_events'

),

raw_rows as (

    select count(*) as raw_count from {{ source('raw', 'raw_events') }}

),

-- Lines that `python -m ops retain` has dropped, and what it kept of them.
dropped as (

    select coalesce(sum(dropped_count), 0) as dropped_count
    from {{ optional_source('raw_retention', {'dropped_count': to_bigint}) }} as raw_retention

),

kept as (

    select count(*) as kept_count
    from {{ optional_source('raw_kept_events', {'timestamp': to_bigint}) }} as raw_kept_events

),

staged as (

    select count(*) as staged_count from {{ ref('int_events') }}

),

looked_at_rows as (

    select count(*) as looked_at_count from {{ looked_at(ref('int_events')) }}

),

-- Counted by the visible key first, so that this is not the query of the model once more.
distinct_rows as (

    select sum(versions) as distinct_count
    from (
        select count(distinct {{ join_text([
            "coalesce(transaction_id, '')", "'|'", "coalesce(" ~ to_text('own_price') ~ ", '')", "'|'",
            "coalesce(" ~ to_text('quantity') ~ ", '')", "'|'",
            "coalesce(own_category_id, '')", "'|'", "coalesce(event_id, '')"
        ]) }}) as versions
        from {{ looked_at(ref('int_events')) }}
        group by visitor_key, event_ms, event_rank, item_key
    ) as by_key

)

select
    accepted.accepted_count,
    raw_rows.raw_count,
    staged.staged_count,
    distinct_rows.distinct_count
from accepted
cross join raw_rows
cross join dropped
cross join kept
cross join staged
cross join looked_at_rows
cross join distinct_rows
where
    (accepted.loads > 0 and accepted.accepted_count <> raw_rows.raw_count + dropped.dropped_count)
    or staged.staged_count > raw_rows.raw_count + kept.kept_count
    or looked_at_rows.looked_at_count <> coalesce(distinct_rows.distinct_count, 0)
