{# Casts whose type names differ between engines. Sums and counts come back in other widths on each, so marts cast. #}
{% macro to_bigint(expression) %}{{ return(adapter.dispatch('to_bigint')(expression)) }}{% endmacro %}
{% macro default__to_bigint(expression) %}cast({{ expression }} as bigint){% endmacro %}
{% macro mysql__to_bigint(expression) %}cast({{ expression }} as signed){% endmacro %}

{% macro to_integer(expression) %}{{ return(adapter.dispatch('to_integer')(expression)) }}{% endmacro %}
{% macro default__to_integer(expression) %}cast({{ expression }} as integer){% endmacro %}
{% macro mysql__to_integer(expression) %}cast({{ expression }} as signed){% endmacro %}

{% macro to_double(expression) %}{{ return(adapter.dispatch('to_double')(expression)) }}{% endmacro %}
{% macro default__to_double(expression) %}cast({{ expression }} as double){% endmacro %}

{% macro to_money(expression) %}{{ return(adapter.dispatch('to_money')(expression)) }}{% endmacro %}
{% macro default__to_money(expression) %}cast({{ expression }} as decimal(18, 4)){% endmacro %}

{% macro to_text(expression) %}{{ return(adapter.dispatch('to_text')(expression)) }}{% endmacro %}
{% macro default__to_text(expression) %}cast({{ expression }} as varchar){% endmacro %}
{% macro mysql__to_text(expression) %}cast({{ expression }} as char){% endmacro %}
{% macro spark__to_text(expression) %}cast({{ expression }} as string){% endmacro %}

{#
    A text of at most 128 characters. Where engines store texts by their greatest length it becomes a bounded column,
    which can be indexed and sorted in memory; a longer text is an error there.
#}
{% macro to_short_text(expression) %}{{ return(adapter.dispatch('to_short_text')(expression)) }}{% endmacro %}
{% macro default__to_short_text(expression) %}cast({{ expression }} as varchar){% endmacro %}
{% macro mysql__to_short_text(expression) %}cast({{ expression }} as char(128)){% endmacro %}
{% macro spark__to_short_text(expression) %}cast({{ expression }} as string){% endmacro %}

{# Null, not an error, where the text is not plain digits or too large: engines differ on what else they take. #}
{% macro try_to_money(expression) %}{{ return(adapter.dispatch('try_to_money')(expression)) }}{% endmacro %}
{% macro duckdb__try_to_money(expression) -%}
    case
        when regexp_full_match({{ expression }}, '-?[0-9]+([.][0-9]+)?')
            then try_cast({{ expression }} as decimal(18, 4))
    end
{%- endmacro %}
{#
    The fifth decimal alone decides how the fourth is rounded, so the rest may go: no text is too long for the cast, which
    is wide enough for every number that comes so far and is then held to the width that money has.
#}
{% macro mysql__try_to_money(expression) -%}
    {%- set number = 'cast(left(' ~ expression ~ ", locate('.', concat(" ~ expression ~ ", '.')) + 5) as decimal(30, 4))" -%}
    case
        when
            {{ expression }} regexp '^-?0*[0-9]{1,14}([.][0-9]+)?$'
            and locate('\n', {{ expression }}) = 0
            and {{ number }} between -99999999999999.9999 and 99999999999999.9999
            then cast({{ number }} as decimal(18, 4))
    end
{%- endmacro %}
{# What is found is compared with the text, because `$` alone lets a line's end pass. #}
{% macro spark__try_to_money(expression) -%}
    case
        when regexp_extract({{ expression }}, '^-?[0-9]+([.][0-9]+)?$', 0) = {{ expression }}
            then try_cast({{ expression }} as decimal(18, 4))
    end
{%- endmacro %}
