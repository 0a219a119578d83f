{# A test runs in a session of its own, which must compare texts as the models do. #}
{% macro mysql__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) -%}
    {% do mysql_session() %}
    {{ default__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) }}
{%- endmacro %}

{# dbt's own test, its many groups sorted, or read in the order of a key, instead of looked up. #}
{% macro mysql__test_unique(model, column_name) %}
select {{ sorted_groups_of(model, [column_name]) }}
    {{ column_name }} as unique_field,
    count(*) as n_records
from {{ model }}
where {{ column_name }} is not null
group by {{ column_name }}
having count(*) > 1
{% endmacro %}
