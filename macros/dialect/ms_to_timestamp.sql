{# Epoch milliseconds (BIGINT) to a UTC timestamp without zone, whatever the session's time zone. #}
{% macro ms_to_timestamp(ms) %}{{ return(adapter.dispatch('ms_to_timestamp')(ms)) }}{% endmacro %}

{% macro duckdb__ms_to_timestamp(ms) %}make_timestamp(({{ ms }}) * 1000){% endmacro %}
