-- Grain: one row per metric that differs from what is known of this data set. With eda_dataset auto the data set is
-- recognised by its raw lines; with a name the warehouse must be that data set. Where no data set has as many lines,
-- nothing more is counted.
{{ config(enabled=not var('exclude_bots') and var('session_timeout_seconds') == 1800) }}
{%- set of_its_size %}
select count(*)
from {{ ref('eda_baseline') }} as baseline
cross join (select count(*) as raw_events from {{ source('raw', 'raw_events') }}) as raw_events
where baseline.metric = 'raw_events' and abs(baseline.expected - raw_events.raw_events) <= baseline.tolerance
{%- endset %}
{%- if execute and var('eda_dataset') == 'auto' and flags.WHICH in ['build', 'test'] and run_query(of_its_size)[0][0] == 0 %}
select dataset
from {{ ref('eda_baseline') }}
where 1 = 0
{%- else %}
with baseline as (

    select * from {{ ref('eda_baseline') }}

),

events as (

    select
        count(*) as events,
        sum(case when event_type = 'view' then 1 else 0 end) as views,
        sum(case when event_type = 'addtocart' then 1 else 0 end) as addtocarts,
        sum(case when event_type = 'transaction' then 1 else 0 end) as transactions,
        count(distinct case when event_type = 'addtocart' then visitor_key end) as cart_visitors,
        count(distinct case when event_type = 'transaction' then visitor_key end) as buyers
    from {{ ref('int_session_events') }}

),

raw_events as (

    select
        count(*) as raw_events,
        min({{ integer_divide('timestamp', 1000) }}) as first_event_second,
        max({{ integer_divide('timestamp', 1000) }}) as last_event_second
    from {{ source('raw', 'raw_events') }}

),

summary as (

    select * from {{ ref('dataset_summary') }}

),

metrics as (

    select distinct metric from baseline

),

measured as (

    select
        metrics.metric,
        case metrics.metric
            {%- for metric, column in [
                ('raw_events', 'raw_events.raw_events'), ('first_event_second', 'raw_events.first_event_second'),
                ('last_event_second', 'raw_events.last_event_second'), ('events', 'events.events'), ('views', 'events.views'),
                ('addtocarts', 'events.addtocarts'), ('transactions', 'events.transactions'),
                ('visitors', 'summary.visitor_count'), ('sessions', 'summary.session_count'),
                ('cart_visitors', 'events.cart_visitors'), ('buyers', 'events.buyers'),
                ('buyer_rate', to_double('events.buyers') ~ ' / ' ~ to_double('summary.visitor_count')),
                ('cart_sessions', 'summary.cart_session_count'),
                ('transaction_sessions', 'summary.converting_session_count'),
                ('conversion_rate', 'summary.conversion_rate'),
            ] %}
            when '{{ metric }}' then {{ to_double(column) }}
            {%- endfor %}
        end as measured
    from metrics
    cross join events
    cross join raw_events
    cross join summary

),

compared as (

    select
        baseline.dataset,
        baseline.metric,
        baseline.expected,
        baseline.source,
        measured.measured,
        case when abs(baseline.expected - measured.measured) <= baseline.tolerance then 0 else 1 end as differs
    from baseline
    left join measured on baseline.metric = measured.metric

),

datasets as (

    select dataset
    from compared
    {%- if var('eda_dataset') == 'auto' %}
    where metric in ('raw_events', 'first_event_second', 'last_event_second')
    group by dataset
    having max(differs) = 0
    {%- else %}
    where dataset = '{{ var("eda_dataset") }}'
    group by dataset
    {%- endif %}

)

select
    compared.dataset,
    compared.metric,
    compared.expected,
    compared.measured,
    compared.source
from compared
inner join datasets on compared.dataset = datasets.dataset
where compared.differs = 1
{%- if var('eda_dataset') != 'auto' %}
union all
select
    '{{ var("eda_dataset") }}' as dataset,
    'no such data set in seeds/eda_baseline.csv' as metric,
    null as expected,
    null as measured,
    null as source
from (select count(*) as found from datasets) as known
where known.found = 0
{%- endif %}
{%- endif %}
