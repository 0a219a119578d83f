{# What makes two transactions of int_session_events one: a line of an order, which is paid once however often it was sent. #}
{% macro paid_line() -%}
    session_key, transaction_id, item_key, case when transaction_id is null then event_number end
{%- endmacro %}

{# What is one purchase in a session: an order, or one event where there are no orders. #}
{% macro purchase() -%}
    session_key, transaction_id, case when transaction_id is null then event_number end
{%- endmacro %}
