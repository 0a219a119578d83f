with session_totals as (

    select * from {{ touched(ref('int_session_totals')) }}

)

select
    session_totals.session_id,
    session_totals.visitor_id,
    session_totals.entry_item_id,
    session_totals.entry_category_id,
    categories.root_category_id as entry_root_category_id,
    bots.bot_reason,
    session_totals.session_number,
    session_totals.event_count,
    {%- for step in var('funnel_steps') %}
    session_totals.{{ step }}_count,
    {%- endfor %}
    session_totals.distinct_items,
    {{ to_double('session_totals.ended_ms - session_totals.started_ms') }} / 1000 as duration_seconds,
    case when session_totals.session_number = 1 then 1 else 0 end as is_new_visitor,
    case when bots.visitor_key is null then 0 else 1 end as is_bot,
    {{ is_closed('session_totals.ended_ms') }} as is_closed,
    {{ day_number_to_date(local_day_number('session_totals.started_ms')) }} as started_date,
    session_totals.started_ms,
    session_totals.ended_ms,
    {{ ms_to_timestamp('session_totals.started_ms') }} as started_at,
    {{ ms_to_timestamp('session_totals.ended_ms') }} as ended_at
from session_totals
cross join {{ ref('int_clock') }} as clock
left join {{ ref('int_bot_visitors') }} as bots on session_totals.visitor_key = bots.visitor_key
left join {{ ref('dim_category') }} as categories on session_totals.entry_category_id = categories.category_id
{%- if var('exclude_bots') %}
where bots.visitor_key is null
{%- endif %}
