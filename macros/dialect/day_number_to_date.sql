{# Days since 1970-01-01 to a date. #}
{% macro day_number_to_date(day_number) %}{{ return(adapter.dispatch('day_number_to_date')(day_number)) }}{% endmacro %}

{% macro duckdb__day_number_to_date(day_number) %}date '1970-01-01' + cast({{ day_number }} as integer){% endmacro %}

{% macro mysql__day_number_to_date(day_number) %}date_add(date '1970-01-01', interval {{ day_number }} day){% endmacro %}

{% macro spark__day_number_to_date(day_number) %}date_from_unix_date(cast({{ day_number }} as integer)){% endmacro %}
