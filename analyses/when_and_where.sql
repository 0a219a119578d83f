-- Question: when and where do sessions reach the cart, convert, or leave their cart behind?
-- Grain: one row per breakdown (all, weekday, hour, category), value and measure that has any trials.
-- Run: dbt show --select when_and_where --limit -1 --output json   (other ways: docs/analyses.md)
--
-- Measures: cart (cart sessions among all), conversion (converting sessions among all), abandonment (cart sessions
-- without a transaction among cart sessions). Weekday (1 Monday to 7 Sunday) and hour are local, of the session's
-- start; category is the root category of its first item, unknown where no category is known.
-- rate_low and rate_high are the Wilson 95 % interval of rate; sessions are taken as independent, which the sessions of
-- one visitor are not quite.
-- has_enough is 1 when the whole shop's rate would give at least 10 successes and 10 failures in that many trials.
-- Only such rows are ranked (place, 1 the highest rate) and compared: against_shop says higher or lower where the whole
-- shop's rate lies outside the interval. Of many rows about one in twenty does so by chance.
{%- set breakdowns = {'all': 'whole_shop', 'weekday': 'weekday', 'hour': 'started_hour', 'category': 'category'} %}
{%- set measures = {
    'cart': ('sessions', 'cart_sessions'),
    'conversion': ('sessions', 'converting_sessions'),
    'abandonment': ('cart_sessions', 'abandoning_sessions'),
} %}
{%- set z = '1.959963984540054' %}
with session_rows as (

    select
        'all' as whole_shop,
        {{ to_text(weekday(local_day_number('sessions.started_ms'))) }} as weekday,
        lpad({{ to_text(local_hour('sessions.started_ms')) }}, 2, '0') as started_hour,
        coalesce(sessions.entry_root_category_id, 'unknown') as category,
        funnels.has_addtocart,
        funnels.has_transaction
    from {{ ref('sessions') }} as sessions
    inner join {{ ref('session_funnels') }} as funnels on sessions.session_id = funnels.session_id

),

totals as (

    {%- for breakdown, column in breakdowns.items() %}
    select
        '{{ breakdown }}' as breakdown,
        {{ column }} as breakdown_value,
        {{ loop.index }} as breakdown_number,
        count(*) as sessions,
        sum(has_addtocart) as cart_sessions,
        sum(has_transaction) as converting_sessions,
        sum(has_addtocart * (1 - has_transaction)) as abandoning_sessions
    from session_rows
    group by {{ column }}
    {% if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

measured as (

    {%- for measure, columns in measures.items() %}
    select
        breakdown,
        breakdown_value,
        breakdown_number,
        '{{ measure }}' as measure,
        {{ loop.index }} as measure_number,
        {{ to_bigint(columns[0]) }} as trials,
        {{ to_bigint(columns[1]) }} as successes,
        {{ ratio(columns[1], columns[0]) }} as rate
    from totals
    where {{ columns[0] }} > 0
    {% if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

shop as (

    select
        measure,
        trials,
        rate
    from measured
    where breakdown = 'all'

),

compared as (

    select
        measured.*,
        shop.rate as shop_rate,
        {{ ratio('measured.trials', 'shop.trials') }} as share_of_trials,
        {{ to_double('measured.trials') }} as n,
        {{ to_double("'" ~ z ~ "'") }} as z,
        case
            when measured.trials * shop.rate >= 10 and measured.trials * (1 - shop.rate) >= 10 then 1
            else 0
        end as has_enough
    from measured
    inner join shop on measured.measure = shop.measure

),

centred as (

    select
        *,
        (rate + z * z / (2 * n)) / (1 + z * z / n) as centre,
        z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n) as half_width,
        row_number() over (
            partition by breakdown, measure, has_enough order by rate desc, breakdown_value asc
        ) as place
    from compared

),

intervals as (

    select
        *,
        greatest(centre - half_width, 0) as rate_low,
        least(centre + half_width, 1) as rate_high
    from centred

)

select
    breakdown,
    breakdown_value,
    measure,
    trials,
    share_of_trials,
    successes,
    rate,
    rate_low,
    rate_high,
    shop_rate,
    has_enough,
    case when has_enough = 1 then place end as place,
    case
        when has_enough = 1 and rate_low > shop_rate then 'higher'
        when has_enough = 1 and rate_high < shop_rate then 'lower'
    end as against_shop
from intervals
order by breakdown_number, measure_number, breakdown_value
