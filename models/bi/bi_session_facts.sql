{{ config(materialized='touched', meta={'unit': 'visitor_id', 'touched': 'int_touched_visitors'}) }}
-- What bi_sessions takes from the marts. A table, because on MySQL joining the marts anew for every question is slow; it
-- holds nothing that a training changes.
{%- set steps = var('funnel_steps') %}
with sessions as (

    select * from {{ touched(ref('sessions'), 'visitor_id') }}

),

funnels as (

    select * from {{ touched(ref('session_funnels'), 'visitor_id') }}

),

-- One number for when and at which point: the largest is the latest decision, of two at one event the later one listed.
latest_decisions as (

    select
        session_id,
        max(
            events_so_far * 1000
            + case decision_point
                {%- for point in var('decision_points') %} when '{{ point.name }}' then {{ loop.index }}{% endfor %}
            end
        ) as latest
    from {{ touched(ref('session_features'), 'visitor_id') }}
    group by session_id

)

select
    sessions.session_id,
    sessions.visitor_id,
    visitors.visitor_key,
    coalesce(sessions.entry_root_category_id, 'unknown') as category_id,
    case when sessions.is_new_visitor = 1 then 'new' else 'returning' end as visitor_type,
    funnels.furthest_step,
    funnels.furthest_step_number,
    case latest_decisions.latest % 1000
        {%- for point in var('decision_points') %} when {{ loop.index }} then '{{ point.name }}'{% endfor %}
    end as decision_point,
    {{ to_integer(local_hour('sessions.started_ms')) }} as started_hour,
    sessions.event_count,
    sessions.duration_seconds,
    funnels.view_to_cart_seconds,
    funnels.cart_to_transaction_seconds,
    funnels.view_to_cart_seconds + funnels.cart_to_transaction_seconds as view_to_transaction_seconds,
    funnels.revenue,
    funnels.carted_value,
    funnels.abandoned_value,
    {%- for step in steps %}
    funnels.has_{{ step }},
    {%- endfor %}
    sessions.is_bot,
    sessions.is_closed,
    sessions.started_date,
    sessions.started_at
from sessions
inner join funnels on sessions.session_id = funnels.session_id
left join latest_decisions on sessions.session_id = latest_decisions.session_id
-- Last: all joins before it are by session, so Spark sends no row to another place in between.
inner join {{ ref('int_visitors') }} as visitors on sessions.visitor_id = visitors.visitor_id
