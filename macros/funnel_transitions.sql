{# Pairs of steps whose time between is kept: neighbours in the funnel, and the two that every funnel has. #}
{% macro step_pairs() %}
    {% set steps = var('funnel_steps') %}
    {% set pairs = [] %}
    {% for step in steps[1:] %}{% do pairs.append((steps[loop.index0], step)) %}{% endfor %}
    {% for pair in [('view', 'addtocart'), ('addtocart', 'transaction')] if pair not in pairs %}
        {% do pairs.append(pair) %}
    {% endfor %}
    {{ return(pairs) }}
{% endmacro %}

{# Column that holds the seconds between two steps; addtocart is called cart in it, e.g. view_to_cart_seconds. #}
{% macro seconds_column(pair) -%}
    {{ (pair[0] ~ '_to_' ~ pair[1] ~ '_seconds') | replace('addtocart', 'cart') }}
{%- endmacro %}

{#
    One row a step, breakdown and value of it (and day, if by_day): sessions that entered the step, sessions that went
    on to the next, the median time that took, and what sessions that ended here left in the cart.
    Sums run on a small table of totals first, so that each further breakdown costs next to nothing.
#}
{% macro funnel_transitions(breakdowns, by_day) -%}
{%- set steps = var('funnel_steps') -%}
{%- set day = 'started_date, ' if by_day else '' -%}
with session_steps as (

    select
        funnels.*,
        'all' as whole_shop,
        case when sessions.is_new_visitor = 1 then 'new' else 'returning' end as visitor_type,
        coalesce(sessions.entry_root_category_id, 'unknown') as category,
        {{ to_text(weekday(local_day_number('sessions.started_ms'))) }} as weekday,
        lpad({{ to_text(local_hour('sessions.started_ms')) }}, 2, '0') as started_hour
    from {{ ref('session_funnels') }} as funnels
    inner join {{ ref('sessions') }} as sessions on funnels.session_id = sessions.session_id

),

step_totals as (

    select
        {{ day }}
        {%- for column in breakdowns.values() %}
        {{ column }},
        {%- endfor %}
        {%- for step in steps[:-1] %}
        sum(has_{{ step }}) as entered_{{ loop.index }},
        sum(has_{{ step }} * has_{{ steps[loop.index] }}) as converted_{{ loop.index }},
        sum(case when furthest_step_number = {{ loop.index }} then abandoned_value else 0 end) as lost_{{ loop.index }}
        {%- if not loop.last %},{% endif %}
        {%- endfor %}
    from session_steps
    group by {{ day }}{{ breakdowns.values() | join(', ') }}

),

-- Each of these is read once: some engines work a named query out anew for every place that reads it.
breakdowns as (

    {%- for breakdown in breakdowns %}
    select '{{ breakdown }}' as breakdown
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

step_numbers as (

    {%- for step in steps[:-1] %}
    select {{ loop.index }} as step_number
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

broken_down as (

    select
        {{ day }}
        step_numbers.step_number,
        breakdowns.breakdown,
        case breakdowns.breakdown
            {%- for breakdown, column in breakdowns.items() %}
            when '{{ breakdown }}' then step_totals.{{ column }}
            {%- endfor %}
        end as breakdown_value,
        {%- for count in ['entered', 'converted', 'lost'] %}
        case step_numbers.step_number
            {%- for step in steps[:-1] %}
            when {{ loop.index }} then step_totals.{{ count }}_{{ loop.index }}
            {%- endfor %}
        end as {{ count }}
        {%- if not loop.last %},{% endif %}
        {%- endfor %}
    from step_totals
    cross join breakdowns
    cross join step_numbers

),

counts as (

    select
        {{ day }}
        step_number,
        breakdown,
        breakdown_value,
        sum(entered) as entered,
        sum(converted) as converted,
        sum(lost) as revenue_lost
    from broken_down
    group by {{ day }}step_number, breakdown, breakdown_value

),

-- The first step can be missing (a cart with no view), so a step's time exists only where the order held.
times as (

    select
        {{ day }}
        {%- for column in breakdowns.values() %}
        {{ column }},
        {%- endfor %}
        step_numbers.step_number,
        case step_numbers.step_number
            {%- for step in steps[:-1] %}
            when {{ loop.index }} then {{ seconds_column((step, steps[loop.index])) }}
            {%- endfor %}
        end as seconds_to_convert
    from session_steps
    cross join step_numbers
    where
        {%- for step in steps[:-1] %}
        {% if not loop.first %}or {% endif %}{{ seconds_column((step, steps[loop.index])) }} is not null
        {%- endfor %}

),

times_broken_down as (

    select
        {{ day }}
        times.step_number,
        breakdowns.breakdown,
        case breakdowns.breakdown
            {%- for breakdown, column in breakdowns.items() %}
            when '{{ breakdown }}' then times.{{ column }}
            {%- endfor %}
        end as breakdown_value,
        times.seconds_to_convert
    from times
    cross join breakdowns
    where times.seconds_to_convert is not null

),

ranked_times as (

    select
        {{ day }}
        step_number,
        breakdown,
        breakdown_value,
        seconds_to_convert,
        row_number() over (
            partition by {{ day }}step_number, breakdown, breakdown_value order by seconds_to_convert
        ) as place,
        count(*) over (partition by {{ day }}step_number, breakdown, breakdown_value) as places
    from times_broken_down

),

medians as (

    select
        {{ day }}
        step_number,
        breakdown,
        breakdown_value,
        avg(seconds_to_convert) as median_seconds_to_convert
    from ranked_times
    where 2 * place between places and places + 2
    group by {{ day }}step_number, breakdown, breakdown_value

)

select
    {%- if by_day %}
    counts.started_date as funnel_date,
    {%- endif %}
    counts.breakdown,
    counts.breakdown_value,
    case counts.step_number{% for step in steps[:-1] %} when {{ loop.index }} then '{{ step }}'{% endfor %} end as step,
    case counts.step_number{% for step in steps[1:] %} when {{ loop.index }} then '{{ step }}'{% endfor %} end as next_step,
    {{ to_integer('counts.step_number') }} as step_number,
    {{ to_bigint('counts.entered') }} as entered,
    {{ to_bigint('counts.converted') }} as converted,
    {{ to_bigint('counts.entered - counts.converted') }} as dropped_off,
    {{ ratio('counts.converted', 'counts.entered') }} as conversion_rate,
    {{ ratio('counts.entered - counts.converted', 'counts.entered') }} as dropoff_rate,
    medians.median_seconds_to_convert,
    {{ to_money('counts.revenue_lost') }} as revenue_lost
from counts
left join medians
    on
        {%- if by_day %}
        counts.started_date = medians.started_date
        and {% endif %}
        counts.step_number = medians.step_number
        and counts.breakdown = medians.breakdown
        and counts.breakdown_value = medians.breakdown_value
where counts.entered > 0
{%- endmacro %}
