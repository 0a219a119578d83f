{#
    The accepted input lines under the warehouse's names: those of events, or those that take a purchase back. A table that
    the shop has already may say so by a price or a quantity below zero, as `ingest load` reads it too.
    is_refund: which of the two
#}
{% macro staged_events(is_refund) -%}
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
{%- if is_refund or has_refunds() %}
where {{ refund_flag() }} = {{ is_refund | int }}
{%- endif %}
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
{%- endmacro %}

{# 1 for a raw line that takes a purchase back. #}
{% macro refund_flag() -%}
    case
        when event = 'refund' then 1
        when event = 'transaction' and (price < 0 or quantity < 0) then 1
        else 0
    end
{%- endmacro %}
