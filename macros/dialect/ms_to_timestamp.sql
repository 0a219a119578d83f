{# Epoch milliseconds (BIGINT) to a UTC timestamp without zone, whatever the session's time zone. #}
{% macro ms_to_timestamp(ms) %}{{ return(adapter.dispatch('ms_to_timestamp')(ms)) }}{% endmacro %}

{% macro duckdb__ms_to_timestamp(ms) %}make_timestamp(({{ ms }}) * 1000){% endmacro %}

{# DATETIME, never TIMESTAMP, which ends in 2038 and moves with the session's zone. #}
{% macro mysql__ms_to_timestamp(ms) -%}
    cast(date_add(cast('1970-01-01' as datetime(3)), interval ({{ ms }}) * 1000 microsecond) as datetime(3))
{%- endmacro %}

{# A TIMESTAMP, which Spark shows in the session's zone: UTC. #}
{% macro spark__ms_to_timestamp(ms) %}timestamp_millis({{ ms }}){% endmacro %}
