-- Which item-days and orders of which visitors hold events that came, went or changed since the last whole build. Empty in a full
-- build, which looks at everything.
-- depends_on: {{ ref('build_loads') }}
-- depends_on: {{ ref('build_plan') }}
-- depends_on: {{ ref('stg_item_properties') }}
-- depends_on: {{ ref('stg_refunds') }}
{%- set columns = ['visitor_id', 'item_id', 'category_id', 'transaction_id', 'day_number'] %}
{%- set events, event_items = built('int_events'), built('int_event_items') %}
{%- set orders, refunds = built('int_order_events'), known_refunds() %}
{%- set new_loads, withdrawn_loads = loads_that_are('new', 'raw_events'), loads_that_are('withdrawn', 'raw_events') %}
{%- set new_properties = loads_that_are('new', 'raw_item_properties') %}
{%- set looks_back = is_changes_build() and events is not none and event_items is not none and orders is not none %}
with new_events as (

    select *
    from {{ ref('stg_events') }}
    where load_number in ({{ new_loads }})

),

arrived as (

    select
        visitor_id,
        item_id,
        coalesce(own_category_id, '') as category_id,
        {{ local_day_number('event_ms') }} as day_number,
        coalesce(case when event_type = 'transaction' then transaction_id end, '') as transaction_id
    from new_events
    {%- if looks_back and has_event_ids() %}
    union all
    -- What was sent before under an id that comes again, and what counts again because its successor was withdrawn.
    select
        earlier.visitor_id,
        earlier.item_id,
        coalesce(earlier.own_category_id, '') as category_id,
        {{ local_day_number('earlier.event_ms') }} as day_number,
        coalesce(case when earlier.event_type = 'transaction' then earlier.transaction_id end, '') as transaction_id
    from {{ ref('stg_events') }} as earlier
    where earlier.event_id in (
        select new_events.event_id from new_events
        union all
        {%- if refunds is not none %}
        select changed_refunds.event_id from {{ changed_refunds(refunds) }} as changed_refunds
        union all
        {%- endif %}
        select withdrawn.event_id
        from {{ events }} as withdrawn
        where withdrawn.load_number in ({{ withdrawn_loads }})
    )
    {%- endif %}

)
{%- if looks_back %},

late_properties as (

    select
        items.item_key,
        min(properties.known_from_ms) as known_from_ms
    from {{ ref('stg_item_properties') }} as properties
    inner join {{ built('int_items') }} as items on properties.item_id = items.item_id
    where properties.load_number in ({{ new_properties }})
    group by items.item_key

),

-- Orders of which an event came, went or changed: another session may have had them first.
moved_orders as (

    select transaction_id
    from arrived
    where transaction_id <> ''
    union
    select transaction_id
    from {{ events }}
    where
        load_number in ({{ withdrawn_loads }})
        and transaction_id <> ''

),

-- Events of loads that were withdrawn, of such orders, and events whose item became better known.
stood as (

    select
        visitor_key,
        event_key,
        transaction_id
    from {{ events }}
    where load_number in ({{ withdrawn_loads }})
    union
    select
        visitor_key,
        event_key,
        transaction_id
    from {{ orders }}
    where transaction_id in (select moved_orders.transaction_id from moved_orders)
    union
    select
        events.visitor_key,
        events.event_key,
        events.transaction_id
    from {{ events }} as events
    inner join late_properties
        on
            events.item_key = late_properties.item_key
            and events.event_ms >= late_properties.known_from_ms

),

altered as (

    select
        visitors.visitor_id,
        items.item_id,
        coalesce(event_items.category_id, '') as category_id,
        coalesce(stood.transaction_id, '') as transaction_id,
        {{ local_day_number('event_items.event_ms') }} as day_number
    from stood
    inner join {{ event_items }} as event_items
        on
            stood.visitor_key = event_items.visitor_key
            and stood.event_key = event_items.event_key
    inner join {{ built('int_visitors') }} as visitors on stood.visitor_key = visitors.visitor_key
    inner join {{ built('int_items') }} as items on event_items.item_key = items.item_key

)
{%- endif %}

select distinct {{ columns | join(', ') }} from arrived
{%- if looks_back %}
union
select {{ columns | join(', ') }} from altered
{%- endif %}
{{ and_unfinished(columns) }}
