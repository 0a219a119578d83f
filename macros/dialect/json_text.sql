{# A value inside a text that holds JSON, as text; null where it is missing or JSON's null. path as in '$.policy.cost'. #}
{% macro json_text(expression, path) %}{{ return(adapter.dispatch('json_text')(expression, path)) }}{% endmacro %}

{% macro duckdb__json_text(expression, path) %}json_extract_string({{ expression }}, '{{ path }}'){% endmacro %}

{# JSON_VALUE would do, but MySQL has it from 8.0.21 only. What comes out of JSON has a collation of its own. #}
{% macro mysql__json_text(expression, path) -%}
    nullif(
        json_unquote(json_extract({{ expression }}, '{{ path }}'))
        collate /*!80017 utf8mb4_0900_bin */ /*M!100600 utf8mb4_nopad_bin */,
        'null'
    )
{%- endmacro %}

{% macro spark__json_text(expression, path) %}get_json_object({{ expression }}, '{{ path }}'){% endmacro %}
