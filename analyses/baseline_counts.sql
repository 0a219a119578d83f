-- Question: what is in the warehouse: lines, duplicates, events, visitors, sessions, carts, buyers, bots?
-- Grain: one row per metric. `ratio` is `amount` over `out_of`: a share, or an average such as events per session.
-- Run: dbt show --select baseline_counts --limit -1 --output json   (other ways: docs/analyses.md)
--
-- Lines are null where the events were in the warehouse already, for then no load counted them. Sessions and visitors
-- follow the marts, so the var exclude_bots leaves bots out of them; raw rows, events and the bot rows hold everyone.
{%- set steps = var('funnel_steps') %}
{%- set metrics = [
    ('lines_read', 'loads.lines_read', none),
    ('lines_rejected', 'loads.lines_rejected', 'loads.lines_read'),
    ('lines_ignored', 'loads.lines_ignored', 'loads.lines_read'),
    ('raw_rows', 'raw_rows.raw_rows', none),
    ('exact_duplicates', 'raw_rows.raw_rows - events.events', 'raw_rows.raw_rows'),
    ('events', 'events.events', 'raw_rows.raw_rows'),
] %}
{%- for step in steps %}
{%- do metrics.append((step ~ '_events', 'events.' ~ step ~ '_events', 'events.events')) %}
{%- endfor %}
{%- do metrics.extend([
    ('visitors', 'visitors.visitors', none),
    ('returning_visitors', 'visitors.multi_session_visitors', 'visitors.visitors'),
    ('sessions', 'sessions.sessions', none),
    ('sessions_per_visitor', 'sessions.sessions', 'visitors.visitors'),
    ('events_per_session', 'sessions.session_events', 'sessions.sessions'),
    ('one_event_sessions', 'sessions.one_event_sessions', 'sessions.sessions'),
    ('cart_sessions', 'sessions.cart_sessions', 'sessions.sessions'),
    ('converting_sessions', 'sessions.converting_sessions', 'sessions.sessions'),
    ('converting_of_carts', 'sessions.converting_cart_sessions', 'sessions.cart_sessions'),
    ('converting_cartless', 'sessions.converting_cartless_sessions', 'sessions.converting_sessions'),
    ('buyers', 'visitors.buyers', 'visitors.visitors'),
    ('one_session_buyers', 'visitors.one_session_buyers', 'visitors.one_session_visitors'),
    ('multi_session_buyers', 'visitors.multi_session_buyers', 'visitors.multi_session_visitors'),
    ('bot_visitors', 'bots.bot_visitors', 'bots.all_visitors'),
    ('bot_events', 'bots.bot_events', 'events.events'),
]) %}
with loads as (

    select
        sum(line_count) as lines_read,
        sum(rejected_count) as lines_rejected,
        sum(ignored_count) as lines_ignored
    from {{ ref('stg_loads') }}
    where raw_table = 'raw_events'

),

raw_rows as (

    -- A refund is no event.
    select count(*) as raw_rows
    from {{ optional_source('raw_events', {'event': to_short_text, 'price': to_money, 'quantity': to_money}) }} as raw_events
    where {{ refund_flag() }} = 0

),

events as (

    select
        {%- for step in steps %}
        sum(case when event_rank = {{ loop.index }} then 1 else 0 end) as {{ step }}_events,
        {%- endfor %}
        count(*) as events
    from {{ ref('int_events') }}

),

session_rows as (

    select
        sessions.visitor_id,
        sessions.event_count,
        funnels.has_addtocart,
        funnels.has_transaction
    from {{ ref('sessions') }} as sessions
    inner join {{ ref('session_funnels') }} as funnels on sessions.session_id = funnels.session_id

),

sessions as (

    select
        count(*) as sessions,
        sum(event_count) as session_events,
        sum(case when event_count = 1 then 1 else 0 end) as one_event_sessions,
        sum(has_addtocart) as cart_sessions,
        sum(has_transaction) as converting_sessions,
        sum(has_addtocart * has_transaction) as converting_cart_sessions,
        sum(has_transaction - has_addtocart * has_transaction) as converting_cartless_sessions
    from session_rows

),

visitor_rows as (

    select
        visitor_id,
        case when count(*) > 1 then 1 else 0 end as is_returning,
        max(has_transaction) as is_buyer
    from session_rows
    group by visitor_id

),

visitors as (

    select
        count(*) as visitors,
        sum(is_buyer) as buyers,
        sum(is_returning) as multi_session_visitors,
        sum(is_returning * is_buyer) as multi_session_buyers,
        sum(1 - is_returning) as one_session_visitors,
        sum((1 - is_returning) * is_buyer) as one_session_buyers
    from visitor_rows

),

event_visitors as (

    select
        visitor_key,
        count(*) as events
    from {{ ref('int_events') }}
    group by visitor_key

),

bots as (

    select
        count(*) as all_visitors,
        count(bot_visitors.visitor_key) as bot_visitors,
        sum(case when bot_visitors.visitor_key is not null then event_visitors.events else 0 end) as bot_events
    from event_visitors
    left join {{ ref('int_bot_visitors') }} as bot_visitors on event_visitors.visitor_key = bot_visitors.visitor_key

),

metrics as (

    {%- for metric, amount, out_of in metrics %}
    select
        {{ loop.index }} as metric_number,
        '{{ metric }}' as metric,
        {{ to_bigint(amount) }} as amount,
        {{ to_bigint(out_of or 'null') }} as out_of
    from loads
    cross join raw_rows
    cross join events
    cross join sessions
    cross join visitors
    cross join bots
    {% if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

)

select
    metric_number,
    metric,
    amount,
    out_of,
    {{ ratio('amount', 'out_of') }} as ratio
from metrics
order by metric_number
