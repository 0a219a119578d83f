{{ config(materialized='table', mysql_spec='primary key (funnel_date, category_id, visitor_type, step_number)') }}
-- funnel_daily answers for one breakdown at a time; these rows can be added up over any of the three, which slicers do.
{%- set steps = var('funnel_steps') %}
with facts as (

    select * from {{ ref('bi_session_facts') }}

),

totals as (

    select
        started_date,
        category_id,
        visitor_type,
        {%- for step in steps %}
        {%- set next = steps[loop.index] if not loop.last else none %}
        sum(has_{{ step }}) as entered_{{ loop.index }},
        {%- if next %}
        sum(has_{{ step }} * has_{{ next }}) as converted_{{ loop.index }},
        sum(case when furthest_step_number = {{ loop.index }} then abandoned_value else 0 end) as lost_{{ loop.index }}
        {%- else %}
        cast(null as decimal(18, 4)) as converted_{{ loop.index }},
        cast(null as decimal(18, 4)) as lost_{{ loop.index }}
        {%- endif %}
        {%- if not loop.last %},{% endif %}
        {%- endfor %}
    from facts
    group by started_date, category_id, visitor_type

),

step_numbers as (

    {%- for step in steps %}
    select {{ loop.index }} as step_number
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

broken_down as (

    select
        totals.started_date,
        totals.category_id,
        totals.visitor_type,
        step_numbers.step_number,
        {%- for count in ['entered', 'converted', 'lost'] %}
        case step_numbers.step_number
            {%- for step in steps %}
            when {{ loop.index }} then totals.{{ count }}_{{ loop.index }}
            {%- endfor %}
        end as {{ count }}
        {%- if not loop.last %},{% endif %}
        {%- endfor %}
    from totals
    cross join step_numbers

)

select
    started_date as funnel_date,
    category_id,
    visitor_type,
    case step_number{% for step in steps %} when {{ loop.index }} then '{{ step }}'{% endfor %} end as step,
    case step_number{% for step in steps[1:] %} when {{ loop.index }} then '{{ step }}'{% endfor %} end as next_step,
    {{ to_integer('step_number') }} as step_number,
    {{ to_bigint('entered') }} as entered,
    {{ to_bigint('converted') }} as converted,
    {{ to_bigint('entered - converted') }} as dropped_off,
    {{ to_money('lost') }} as revenue_lost,
    case when step_number = {{ steps | length }} then 1 else 0 end as is_last_step
from broken_down
where entered > 0
