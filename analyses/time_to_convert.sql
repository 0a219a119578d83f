-- Question: how long do sessions take from step to step, and who is slow?
-- Grain: one row per pair of steps, breakdown (all, visitor_type, category, weekday, hour) and value.
-- Run: dbt show --select time_to_convert --limit -1 --output json   (other ways: docs/analyses.md)
--
-- Seconds from a session's first event of one step to its first of the other, over sessions where they came in that
-- order; in_order_share says how many of the sessions with both those are. A session ends after a pause of
-- session_timeout_seconds, so who buys after a longer pause is in none of these times.
-- The median is the middle, or the mean of the two middle ones; p25 and p75 are the nearest ranks. median_low and
-- median_high are its 95 % interval by ranks, which needs no shape of distribution. has_enough is 1 from 30 sessions
-- on; against_shop says slower or faster where the whole shop's median lies outside the interval of such a row. Of many
-- rows about one in twenty does so by chance.
{%- set breakdowns = {
    'all': 'whole_shop', 'visitor_type': 'visitor_type', 'category': 'category', 'weekday': 'weekday',
    'hour': 'started_hour',
} %}
{%- set half_z = '0.979981992270027' %}
with session_rows as (

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

pairs as (

    {%- for pair in step_pairs() %}
    select
        '{{ pair[0] }}' as from_step,
        '{{ pair[1] }}' as to_step,
        {{ loop.index }} as pair_number,
        whole_shop,
        visitor_type,
        category,
        weekday,
        started_hour,
        {{ seconds_column(pair) }} as seconds
    from session_rows
    where has_{{ pair[0] }} = 1 and has_{{ pair[1] }} = 1
    {% if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

segments as (

    {%- for breakdown, column in breakdowns.items() %}
    select
        from_step,
        to_step,
        pair_number,
        '{{ breakdown }}' as breakdown,
        {{ column }} as breakdown_value,
        {{ loop.index }} as breakdown_number,
        seconds
    from pairs
    {% if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

-- Times that are null come last or first, as the engine likes, so they are kept out of the ranks.
ranked as (

    select
        *,
        row_number() over (
            partition by pair_number, breakdown, breakdown_value, case when seconds is null then 1 else 0 end
            order by seconds
        ) as place,
        count(seconds) over (partition by pair_number, breakdown, breakdown_value) as places,
        count(*) over (partition by pair_number, breakdown, breakdown_value) as sessions_with_both
    from segments

),

bounds as (

    select
        *,
        floor({{ to_double('places') }} / 2 - {{ to_double("'" ~ half_z ~ "'") }} * sqrt({{ to_double('places') }}))
            as low_place,
        ceil({{ to_double('places') }} / 2 + {{ to_double("'" ~ half_z ~ "'") }} * sqrt({{ to_double('places') }})) + 1
            as high_place
    from ranked

),

summaries as (

    select
        from_step,
        to_step,
        pair_number,
        breakdown,
        breakdown_value,
        breakdown_number,
        sessions_with_both,
        places as sessions_in_order,
        avg(case when 2 * place between places and places + 2 then seconds end) as median_seconds,
        min(case when 4 * place >= places then seconds end) as p25_seconds,
        min(case when 4 * place >= 3 * places then seconds end) as p75_seconds,
        max(case when place = low_place then seconds end) as median_low,
        max(case when place = high_place then seconds end) as median_high,
        case when places >= 30 then 1 else 0 end as has_enough
    from bounds
    group by
        from_step, to_step, pair_number, breakdown, breakdown_value, breakdown_number, sessions_with_both, places

)

select
    summaries.from_step,
    summaries.to_step,
    summaries.breakdown,
    summaries.breakdown_value,
    summaries.sessions_with_both,
    summaries.sessions_in_order,
    {{ ratio('summaries.sessions_in_order', 'summaries.sessions_with_both') }} as in_order_share,
    summaries.median_seconds,
    summaries.median_low,
    summaries.median_high,
    summaries.p25_seconds,
    summaries.p75_seconds,
    summaries.has_enough,
    case
        when summaries.has_enough = 1 and summaries.median_low > shop.median_seconds then 'slower'
        when summaries.has_enough = 1 and summaries.median_high < shop.median_seconds then 'faster'
    end as against_shop
from summaries
inner join summaries as shop on summaries.pair_number = shop.pair_number
where shop.breakdown = 'all'
order by summaries.pair_number, summaries.breakdown_number, summaries.breakdown_value
