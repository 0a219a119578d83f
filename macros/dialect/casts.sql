{# Casts whose type names differ between engines. Sums and counts come back in other widths on each, so marts cast. #}
{% macro to_bigint(expression) %}{{ return(adapter.dispatch('to_bigint')(expression)) }}{% endmacro %}
{% macro default__to_bigint(expression) %}cast({{ expression }} as bigint){% endmacro %}

{% macro to_integer(expression) %}{{ return(adapter.dispatch('to_integer')(expression)) }}{% endmacro %}
{% macro default__to_integer(expression) %}cast({{ expression }} as integer){% endmacro %}

{% macro to_double(expression) %}{{ return(adapter.dispatch('to_double')(expression)) }}{% endmacro %}
{% macro default__to_double(expression) %}cast({{ expression }} as double){% endmacro %}

{% macro to_money(expression) %}{{ return(adapter.dispatch('to_money')(expression)) }}{% endmacro %}
{% macro default__to_money(expression) %}cast({{ expression }} as decimal(18, 4)){% endmacro %}

{% macro to_text(expression) %}{{ return(adapter.dispatch('to_text')(expression)) }}{% endmacro %}
{% macro default__to_text(expression) %}cast({{ expression }} as varchar){% endmacro %}

{# Null, not an error, where the text is not plain digits: engines differ on what else they take for a number. #}
{% macro try_to_money(expression) %}{{ return(adapter.dispatch('try_to_money')(expression)) }}{% endmacro %}
{% macro duckdb__try_to_money(expression) -%}
    case
        when regexp_full_match({{ expression }}, '-?[0-9]+([.][0-9]+)?')
            then try_cast({{ expression }} as decimal(18, 4))
    end
{%- endmacro %}
