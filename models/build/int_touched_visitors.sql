-- Whose rows this build writes anew: decided here and nowhere else. Empty in a full build, which writes all.
-- depends_on: {{ ref('int_changed_categories') }}
-- depends_on: {{ ref('int_clock') }}
{%- set features, sessions = built('session_features'), built('sessions') %}
with touched as (

    -- Who did, or no longer did, something; and who met an item that became better known.
    select visitor_id from {{ ref('int_changed_events') }}
    {%- if is_changes_build() and features is not none and sessions is not none %}
    union
    -- Whose session ends, or goes on, because the data's clock moved.
    select sessions.visitor_id
    from {{ sessions }} as sessions
    cross join {{ ref('int_clock') }} as clock
    where sessions.is_closed <> {{ is_closed('sessions.ended_ms') }}
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
