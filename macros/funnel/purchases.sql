{#
    1 for a transaction of int_session_events that is paid, else 0. Of an item, an order pays the lines of the first moment;
    what comes later is the order sent again. Of that moment all lines with ids of their own are paid. Of lines without
    one, equal price and amount make two lines one.
#}
{% macro is_paid_line() -%}
{%- set line = 'session_key, transaction_id, item_key, case when transaction_id is null then event_number end' -%}
    case
        when
            min(event_ms) over (partition by {{ line }}) = event_ms
            and min(event_number) over (
                partition by {{ line }}, event_ms, price, amount, case when has_event_id = 1 then event_number end
            ) = event_number
            then 1
        else 0
    end
{%- endmacro %}

{# What is one purchase in a session: an order, or one event where there are no orders. #}
{% macro purchase() -%}
    session_key, transaction_id, case when transaction_id is null then event_number end
{%- endmacro %}
