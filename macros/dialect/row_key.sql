{#
    Numbers the rows of a table in a given order, after those that it holds already: row_key is the first column of the
    select, row_key_order its last clause. Where a window over all rows would be slow the table numbers its rows itself, as
    they are inserted in order; there the column's meta.numbered says so.
#}
{% macro row_key(name, order) %}{{ return(adapter.dispatch('row_key')(name, order)) }}{% endmacro %}
{% macro default__row_key(name, order) -%}
    {%- if is_touched_build() %}coalesce((select max(there.{{ name }}) from {{ this }} as there), 0) + {% endif -%}
    row_number() over (order by {{ order }}) as {{ name }},
{%- endmacro %}
{% macro mysql__row_key(name, order) %}{% endmacro %}
{# ROW_NUMBER is a 32-bit number on Spark, and keys are multiplied. #}
{% macro spark__row_key(name, order) -%}
    {{ to_bigint('row_number() over (order by ' ~ order ~ ')') }} as {{ name }},
{%- endmacro %}

{% macro row_key_order(order) %}{{ return(adapter.dispatch('row_key_order')(order)) }}{% endmacro %}
{% macro default__row_key_order(order) %}{% endmacro %}
{% macro mysql__row_key_order(order) %}order by {{ order }}{% endmacro %}

{# A column in an ORDER BY, its nulls first. #}
{% macro nulls_first(column) %}{{ return(adapter.dispatch('nulls_first')(column)) }}{% endmacro %}
{% macro default__nulls_first(column) %}{{ column }} nulls first{% endmacro %}
{% macro mysql__nulls_first(column) %}{{ column }}{% endmacro %}
