{# A test runs in a session of its own, which must compare texts as the models do. #}
{% macro mysql__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) -%}
    {% do mysql_session() %}
    {{ default__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) }}
{%- endmacro %}
