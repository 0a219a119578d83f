-- Grain: one row a decision point whose rows, or whose labels, are not those of the sessions that reached it.
-- Guards: the feature mart loses no session and labels none wrongly.
with events as (

    select
        session_events.session_id,
        session_events.event_number,
        session_events.event_type
    from {{ ref('int_session_events') }} as session_events
    inner join {{ ref('sessions') }} as sessions on session_events.session_id = sessions.session_id

),

transactions as (

    select
        session_id,
        min(event_number) as first_number,
        max(event_number) as last_number
    from events
    where event_type = 'transaction'
    group by session_id

),

reached as (

    {%- for point in var('decision_points') %}
    select
        '{{ point.name }}' as decision_point,
        session_id,
        min(event_number) as event_number
    from events
    where {% if 'event_number' in point %}event_number = {{ point.event_number }}{% else %}event_type = '{{ point.first_event }}'{% endif %}
    group by session_id
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
    left join transactions on reached.session_id = transactions.session_id
    where coalesce(transactions.first_number > reached.event_number, true)
    group by reached.decision_point

),

actual as (

    select
        decision_point,
        count(*) as row_count,
        sum(has_transaction) as label_count
    from {{ ref('session_features') }}
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
