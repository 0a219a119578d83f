-- Grain: one row per decision point whose rows, or whose labels, are not those of the sessions that reached it.
-- Guards: the feature mart loses no session and labels none wrongly.
with events as (

    select
        session_key,
        event_number,
        event_type,
        is_repeated_order
    from {{ looked_at(ref('int_session_events')) }}
    {%- if var('exclude_bots') %}
    where visitor_key not in (select bots.visitor_key from {{ ref('int_bot_visitors') }} as bots)
    {%- endif %}

),

transactions as (

    select
        session_key,
        min(event_number) as first_number,
        max(event_number) as last_number
    from events
    where event_type = 'transaction' and is_repeated_order = 0
    group by session_key

),

reached as (

    {%- for point in var('decision_points') %}
    {%- if 'event_number' in point %}
    select
        '{{ point.name }}' as decision_point,
        session_key,
        event_number
    from events
    where event_number = {{ point.event_number }}
    {%- else %}
    select
        '{{ point.name }}' as decision_point,
        session_key,
        min(event_number) as event_number
    from events
    where event_type = '{{ point.first_event }}'
    group by session_key
    {%- endif %}
    {% if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

expected as (

    select
        reached.decision_point,
        count(*) as row_count,
        sum(case when transactions.last_number > reached.event_number then 1 else 0 end) as label_count
    from reached
    left join transactions on reached.session_key = transactions.session_key
    where coalesce(transactions.first_number > reached.event_number, true)
    group by reached.decision_point

),

actual as (

    select
        decision_point,
        count(*) as row_count,
        sum(has_transaction) as label_count
    from {{ looked_at(ref('session_features'), 'visitor_id') }}
    group by decision_point

)

select
    expected.decision_point,
    expected.row_count as expected_rows,
    actual.row_count as actual_rows,
    expected.label_count as expected_labels,
    actual.label_count as actual_labels
from expected
left join actual on expected.decision_point = actual.decision_point
where
    expected.row_count <> coalesce(actual.row_count, 0)
    or expected.label_count <> coalesce(actual.label_count, 0)
