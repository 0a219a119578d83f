-- Question: at which step do most sessions leave, in the whole shop and in each segment?
-- Grain: one row per breakdown (all, visitor_type, category, weekday, hour), value and funnel step but the last.
-- Run: dbt show --select highest_dropoff_step --limit -1 --output json   (other ways: docs/analyses.md)
--
-- A session drops off at a step when it has an event of it and none of any later step, in whatever order they came.
-- Who bought without a cart did not leave after the view.
-- dropoff_low and dropoff_high are the Wilson 95 % interval of dropoff_rate. It takes sessions as independent; the
-- sessions of one visitor are not quite, so read it as slightly too narrow.
-- highest_step marks the step with the highest rate: clear where its interval lies above those of all other steps of the
-- segment, else not clear.
-- has_enough is 1 when the step's rate in the whole shop would give at least 10 drop-offs and 10 others among the
-- sessions entered: the segment's own rate does not decide, for that would favour the lucky ones.
-- against_shop says higher or lower where the whole shop's rate lies outside the interval of a row with enough sessions.
-- Of many rows about one in twenty does so by chance.
{%- set z = '1.959963984540054' %}
with dropoff as (

    select * from {{ ref('funnel_dropoff') }}

),

shop as (

    select
        step,
        dropoff_rate
    from dropoff
    where breakdown = 'all'

),

compared as (

    select
        dropoff.breakdown,
        dropoff.breakdown_value,
        dropoff.step,
        dropoff.next_step,
        dropoff.step_number,
        dropoff.entered,
        dropoff.dropped_off,
        dropoff.dropoff_rate,
        dropoff.revenue_lost,
        shop.dropoff_rate as shop_dropoff_rate,
        {{ to_double('dropoff.entered') }} as trials,
        {{ to_double("'" ~ z ~ "'") }} as z,
        row_number() over (
            partition by dropoff.breakdown, dropoff.breakdown_value
            order by dropoff.dropoff_rate desc, dropoff.step_number asc
        ) as place
    from dropoff
    inner join shop on dropoff.step = shop.step

),

centred as (

    select
        *,
        (dropoff_rate + z * z / (2 * trials)) / (1 + z * z / trials) as centre,
        z * sqrt(dropoff_rate * (1 - dropoff_rate) / trials + z * z / (4 * trials * trials))
        / (1 + z * z / trials) as half_width,
        case
            when trials * shop_dropoff_rate >= 10 and trials * (1 - shop_dropoff_rate) >= 10 then 1
            else 0
        end as has_enough
    from compared

),

intervals as (

    select
        *,
        greatest(centre - half_width, 0) as dropoff_low,
        least(centre + half_width, 1) as dropoff_high
    from centred

),

beside_the_others as (

    select
        *,
        max(case when place > 1 then dropoff_high end) over (
            partition by breakdown, breakdown_value
        ) as other_steps_high
    from intervals

),

final as (

    select
        breakdown,
        breakdown_value,
        step,
        next_step,
        step_number,
        entered,
        dropped_off,
        dropoff_rate,
        dropoff_low,
        dropoff_high,
        case
            when place = 1 and dropoff_low > other_steps_high then 'clear'
            when place = 1 then 'not clear'
        end as highest_step,
        shop_dropoff_rate,
        has_enough,
        case
            when has_enough = 1 and dropoff_low > shop_dropoff_rate then 'higher'
            when has_enough = 1 and dropoff_high < shop_dropoff_rate then 'lower'
        end as against_shop,
        revenue_lost
    from beside_the_others

)

select * from final
order by
    case breakdown when 'all' then 1 when 'visitor_type' then 2 when 'category' then 3 when 'weekday' then 4 else 5 end,
    breakdown_value,
    step_number
