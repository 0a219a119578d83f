-- The facts of the star hold the marts' sessions and money, each once; one row for each total that differs.
with sessions as (

    select
        count(*) as session_count,
        sum(has_addtocart) as cart_count,
        sum(has_transaction) as converting_count,
        sum(revenue) as revenue
    from {{ ref('bi_session_facts') }}

),

summary as (

    select * from {{ ref('dataset_summary') }}

),

daily as (

    select
        step,
        sum(entered) as entered,
        sum(converted) as converted,
        sum(skipped) as skipped,
        sum(dropped_off) as dropped_off,
        sum(revenue_lost) as revenue_lost
    from {{ ref('bi_funnel_daily') }}
    where is_last_step = 0
    group by step

),

shop as (

    select * from {{ ref('funnel_dropoff') }}
    where breakdown = 'all'

)

select 'sessions differ from dataset_summary' as difference
from sessions
cross join summary
where
    sessions.session_count <> summary.session_count
    or sessions.cart_count <> summary.cart_session_count
    or sessions.converting_count <> summary.converting_session_count
    or sessions.revenue <> summary.revenue

union all

select 'bi_funnel_daily differs from funnel_dropoff' as difference
from shop
left join daily on shop.step = daily.step
where
    coalesce(daily.entered, 0) <> shop.entered
    or daily.converted <> shop.converted
    or daily.skipped <> shop.skipped
    or daily.dropped_off <> shop.dropped_off
    or daily.revenue_lost <> shop.revenue_lost
