{#
    The rows of a table whose unit is one of those in another table, to stand behind `from`.
    are_few: whether they are a small part of the table
#}
{% macro rows_of_units(relation, unit, units, alias, are_few=true) -%}
    {{ return(adapter.dispatch('rows_of_units')(relation, unit, units, alias, are_few)) }}
{%- endmacro %}
{% macro default__rows_of_units(relation, unit, units, alias, are_few) -%}
    (select * from {{ relation }} where {{ unit }} in (select {{ unit }} from {{ units }})) as {{ alias }}
{%- endmacro %}
{#
    The units come first: each finds its rows by an index, or all wait in memory while the table is read once. Few
    rows are kept apart by the limit, so that the query around them begins with them. Left to itself, a server without statistics of the column looks
    every row of the table up, in other tables too.
#}
{% macro mysql__rows_of_units(relation, unit, units, alias, are_few) -%}
    (
        select unit_rows.*
        from (select distinct {{ unit }} as unit_key from {{ units }}) as units
        straight_join {{ relation }} as unit_rows on units.unit_key = unit_rows.{{ unit }}
        {%- if are_few %}
        limit 18446744073709551615
        {%- endif %}
    ) as {{ alias }}
{%- endmacro %}
