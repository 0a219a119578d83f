{# A value inside a text that holds JSON, as text; null where it is missing or JSON's null. path as in '$.policy.cost'. #}
{% macro json_text(expression, path) %}{{ return(adapter.dispatch('json_text')(expression, path)) }}{% endmacro %}

{% macro duckdb__json_text(expression, path) %}json_extract_string({{ expression }}, '{{ path }}'){% endmacro %}

{# JSON_VALUE would do, but MySQL has it from 8.0.21 only. #}
{% macro mysql__json_text(expression, path) -%}
    nullif(json_unquote(json_extract({{ expression }}, '{{ path }}')), 'null')
{%- endmacro %}
