{%- set steps = var('funnel_steps') %}
with session_totals as (

    select * from {{ touched(ref('int_session_totals')) }}

)

select
    session_totals.session_id,
    session_totals.visitor_id,
    case
        {%- for step in steps | reverse %}
        when session_totals.{{ step }}_count > 0 then '{{ step }}'
        {%- endfor %}
        else '{{ steps[0] }}'
    end as furthest_step,
    case
        {%- for step in steps | reverse %}
        when session_totals.{{ step }}_count > 0 then {{ steps | length - loop.index0 }}
        {%- endfor %}
        else 1
    end as furthest_step_number,
    {%- for step in steps %}
    case when session_totals.{{ step }}_count > 0 then 1 else 0 end as has_{{ step }},
    {%- endfor %}
    case when session_totals.{{ steps[0] }}_count > 0 then 1 else 0 end as has_ordered_{{ steps[0] }},
    {%- for step in steps[1:] %}
    coalesce(ordered_steps.has_ordered_{{ step }}, 0) as has_ordered_{{ step }},
    {%- endfor %}
    {%- for pair in step_pairs() %}
    {{ seconds_between(pair) }} as {{ seconds_column(pair) }},
    {%- endfor %}
    {{ to_money('coalesce(money.revenue, 0)') }} as revenue,
    {{ to_money('coalesce(money.refunded_value, 0)') }} as refunded_value,
    {{ to_money('coalesce(money.carted_value, 0)') }} as carted_value,
    {{ to_money('coalesce(money.abandoned_value, 0)') }} as abandoned_value,
    {{ day_number_to_date(local_day_number('session_totals.started_ms')) }} as started_date,
    {{ ms_to_timestamp('session_totals.started_ms') }} as started_at,
    {%- for step in steps %}
    {{ ms_to_timestamp('session_totals.first_' ~ step ~ '_ms') }} as first_{{ step }}_at
    {%- if not loop.last %},{% endif %}
    {%- endfor %}
from session_totals
left join {{ ref('int_session_ordered_steps') }} as ordered_steps
    on
        session_totals.visitor_key = ordered_steps.visitor_key
        and session_totals.session_key = ordered_steps.session_key
left join {{ ref('int_session_money') }} as money
    on
        session_totals.visitor_key = money.visitor_key
        and session_totals.session_key = money.session_key
left join {{ ref('int_bot_visitors') }} as bots on session_totals.visitor_key = bots.visitor_key
{%- if var('exclude_bots') %}
where bots.visitor_key is null
{%- endif %}
