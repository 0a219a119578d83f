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

{#
    The different ids of a common table expression, numbered in their order. To stand behind the expressions of a `with`.
    On Spark one task would number them all. There the ids are cut by their beginnings, behind what all of them begin with,
    into parts that lie one after the other; each part is numbered by a task of its own, from where the one before ends.
#}
{% macro numbered_once(ids, key, id) %}{{ return(adapter.dispatch('numbered_once')(ids, key, id)) }}{% endmacro %}
{% macro default__numbered_once(ids, key, id) %}

select
    {{ sorted_groups() }}
    {{ row_key(key, id) }}
    {{ id }}
from {{ ids }}
group by {{ id }}
{{ row_key_order(id) }}
{%- endmacro %}
{% macro spark__numbered_once(ids, key, id) %},

once as (

    select {{ id }}
    from {{ ids }}
    group by {{ id }}

),

ends as (

    select
        min({{ id }}) as first_id,
        max({{ id }}) as last_id
    from once

),

common as (

    select
        array_max(
            filter(
                sequence(0, least(length(first_id), length(last_id))),
                place -> left(first_id, place) = left(last_id, place)
            )
        ) as common_length
    from ends

),

parts as (

    select
        once.{{ id }},
        left(once.{{ id }}, common.common_length + 3) as part
    from once
    cross join common

),

starts as (

    select
        part,
        sum(count(*)) over (order by part rows unbounded preceding) - count(*) as ids_before
    from parts
    group by part

)

select
    {{ to_bigint('starts.ids_before + row_number() over (partition by parts.part order by parts.' ~ id ~ ')') }} as {{ key }},
    parts.{{ id }}
from parts
inner join starts on parts.part = starts.part
{%- endmacro %}
