{# A UTC timestamp without zone to epoch milliseconds (BIGINT). #}
{% macro timestamp_to_ms(expression) %}{{ return(adapter.dispatch('timestamp_to_ms')(expression)) }}{% endmacro %}

{% macro duckdb__timestamp_to_ms(expression) %}epoch_ms(cast({{ expression }} as timestamp)){% endmacro %}

{% macro mysql__timestamp_to_ms(expression) -%}
    (timestampdiff(microsecond, cast('1970-01-01' as datetime(3)), cast({{ expression }} as datetime(3))) div 1000)
{%- endmacro %}

{% macro spark__timestamp_to_ms(expression) %}unix_millis(cast({{ expression }} as timestamp)){% endmacro %}
