-- Whose rows this build writes anew: decided here and nowhere else. Empty in a full build, which writes all.
-- depends_on: {{ ref('int_changed_categories') }}
-- depends_on: {{ ref('int_clock') }}
-- depends_on: {{ ref('stg_events') }}
-- depends_on: {{ ref('stg_refunds') }}
{%- set features, sessions = built('session_features'), built('sessions') %}
{%- set orders, refunds = built('int_order_events'), known_refunds() %}
{%- set looks_at_refunds = orders is not none and refunds is not none %}
with {% if looks_at_refunds -%}
-- Refunds that came, went or were sent again, those that stood under their ids before, and those whose order came or went.
moved_refunds as (

    select
        visitor_id,
        transaction_id
    from {{ changed_refunds(refunds) }} as changed
    {%- if has_event_ids() %}
    union
    select
        visitor_id,
        coalesce(transaction_id, '') as transaction_id
    from {{ ref('stg_refunds') }}
    where event_id in (
        select changed.event_id from {{ changed_refunds(refunds) }} as changed
        union all
        select new_events.event_id
        from {{ ref('stg_events') }} as new_events
        where new_events.load_number in ({{ loads_that_are('new', 'raw_events') }})
        union all
        select withdrawn.event_id
        from {{ built('int_events') }} as withdrawn
        where withdrawn.load_number in ({{ loads_that_are('withdrawn', 'raw_events') }})
    )
    {%- endif %}
    union
    select
        visitor_id,
        transaction_id
    from {{ refunds }}
    where
        transaction_id <> ''
        and transaction_id in (select changes.transaction_id from {{ ref('int_changed_events') }} as changes)

),

{% endif -%}
touched as (

    -- Who did, or no longer did, something; and who met an item that became better known.
    select visitor_id from {{ ref('int_changed_events') }}
    {%- if is_changes_build() and features is not none and sessions is not none %}
    union
    -- Whose session ends, or goes on, because the data's clock moved.
    select sessions.visitor_id
    from {{ sessions }} as sessions
    cross join {{ ref('int_clock') }} as clock
    where sessions.is_closed <> {{ is_closed('sessions.ended_ms') }}
    {%- if looks_at_refunds %}
    union
    -- Whose purchase is taken back, or no longer.
    select visitor_id from moved_refunds
    union
    select orders.visitor_id
    from {{ orders }} as orders
    where orders.transaction_id in (select moved_refunds.transaction_id from moved_refunds)
    {%- endif %}
    -- Who decided within 28 days of a late event, on its item or in its category: demand and usual prices are closed days'.
    {%- for changes, ours, theirs in [
        (ref('int_changed_events'), 'item_id', 'item_id'),
        (ref('int_changed_categories'), 'item_category', 'category_id'),
    ] %}
    union
    select features.visitor_id
    from {{ features }} as features
    inner join {{ changes }} as changes on features.{{ ours }} = changes.{{ theirs }}
    where
        {{ local_day_number('features.decided_ms') }} > changes.day_number
        and {{ local_day_number('features.decided_ms') }} <= changes.day_number + 28
        -- Says no more than the first of these; but few rows are left to look up.
        and features.decided_date > (select {{ day_number_to_date('min(earliest.day_number)') }} from {{ changes }} as earliest)
    {%- endfor %}
    {%- endif %}

)

select
    visitors.visitor_key,
    visitors.visitor_id
from touched
inner join {{ ref('int_visitors') }} as visitors on touched.visitor_id = visitors.visitor_id
{{ and_unfinished(['visitor_key', 'visitor_id']) }}
