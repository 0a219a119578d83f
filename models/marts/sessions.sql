with session_totals as (

    select * from {{ ref('int_session_totals') }}

),

bots as (

    select * from {{ ref('int_bot_visitors') }}

),

categories as (

    select * from {{ ref('dim_category') }}

),

clock as (

    select * from {{ ref('int_clock') }}

),

final as (

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
        case when bots.visitor_id is null then 0 else 1 end as is_bot,
        case
            when
                session_totals.ended_ms + {{ var('session_timeout_seconds') }} * 1000 < clock.high_water_mark_ms
                then 1
            else 0
        end as is_closed,
        {{ day_number_to_date(local_day_number('session_totals.started_ms')) }} as started_date,
        session_totals.started_ms,
        session_totals.ended_ms,
        {{ ms_to_timestamp('session_totals.started_ms') }} as started_at,
        {{ ms_to_timestamp('session_totals.ended_ms') }} as ended_at
    from session_totals
    cross join clock
    left join bots on session_totals.visitor_id = bots.visitor_id
    left join categories on session_totals.entry_category_id = categories.category_id

)

select * from final
{%- if var('exclude_bots') %}
where is_bot = 0
{%- endif %}
