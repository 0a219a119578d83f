-- Part of what reads it: no engine copies the events once more, and MySQL and MariaDB give the texts of a view another
-- collation. Events whose raw lines were dropped (`python -m ops retain`) count as before.
{{ config(materialized='ephemeral') }}
{%- set columns = {
    'timestamp': to_bigint, 'visitorid': to_short_text, 'event': to_short_text, 'itemid': to_short_text,
    'transactionid': to_short_text, 'price': to_money, 'categoryid': to_short_text, 'event_id': to_short_text,
    'quantity': to_money, 'line_number': to_bigint, 'load_number': to_bigint,
} %}
{%- set sources = ['raw_events'] + (['raw_kept_events'] if has_rows('raw_kept_events') else []) %}
{%- for name in sources %}
select
    visitorid as visitor_id,
    itemid as item_id,
    transactionid as transaction_id,
    categoryid as own_category_id,
    event as event_type,
    price as own_price,
    quantity,
    event_id,
    timestamp as event_ms,
    load_number,
    load_number * 1099511627776 + line_number as place
from {{ optional_source(name, columns) }} as {{ name }}
{% if not loop.last %}
union all
{%- endif %}
{%- endfor %}
