-- The funnel, step by step: what each session did at each step that it entered. Narrow, because the funnel marts scan it;
-- steps that a session did not enter have no row.
{%- set steps = var('funnel_steps') %}
with session_totals as (

    select
        totals.*,
        coalesce(categories.root_category_id, 'unknown') as category_id,
        case when totals.session_number = 1 then 1 else 0 end as is_new_visitor,
        {{ to_integer(local_day_number('totals.started_ms')) }} as day_number,
        {{ to_integer(local_hour('totals.started_ms')) }} as started_hour
    from {{ touched(ref('int_session_totals'), alias='totals') }}
    left join {{ ref('dim_category') }} as categories on totals.entry_category_id = categories.category_id
    where not ({{ var('exclude_bots') }} and totals.visitor_key in (select bots.visitor_key from {{ ref('int_bot_visitors') }} as bots))

),

money as (

    select * from {{ ref('int_session_money') }}

)

-- The first step can be missing (a cart with no view), so the time to the next step exists only where the order held.
{%- for step in steps[:-1] %}
{%- set number = loop.index %}
select
    session_totals.session_key,
    session_totals.visitor_key,
    session_totals.category_id,
    {{ number }} as step_number,
    case when session_totals.{{ steps[number] }}_count > 0 then 1 else 0 end as is_next_entered,
    -- Who bought at once went on, though not by the next step.
    case
        when
            session_totals.{{ steps[number] }}_count = 0
            and session_totals.{{ steps[number:] | join('_count + session_totals.') }}_count > 0 then 1
        else 0
    end as is_next_skipped,
    {{ seconds_between((step, steps[number])) }} as seconds_to_next,
    case
        when session_totals.{{ steps[number:] | join('_count + session_totals.') }}_count > 0 then 0
        else coalesce(money.abandoned_value, 0)
    end as value_left,
    session_totals.is_new_visitor,
    session_totals.day_number,
    session_totals.started_hour
from session_totals
left join money
    on
        session_totals.visitor_key = money.visitor_key
        and session_totals.session_key = money.session_key
where session_totals.{{ step }}_count > 0

union all
{% endfor %}
select
    session_key,
    visitor_key,
    category_id,
    {{ steps | length }} as step_number,
    null as is_next_entered,
    null as is_next_skipped,
    null as seconds_to_next,
    null as value_left,
    is_new_visitor,
    day_number,
    started_hour
from session_totals
where {{ steps[-1] }}_count > 0
