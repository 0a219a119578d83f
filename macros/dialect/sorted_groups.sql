{#
    Goes right behind `select`, before the columns, where a grouping or DISTINCT leaves almost as many groups as there are rows. MySQL and
    MariaDB else keep such groups in a table of their own and look up every row in it, which takes ten times as long as
    sorting.
#}
{% macro sorted_groups() %}{{ return(adapter.dispatch('sorted_groups')()) }}{% endmacro %}
{% macro default__sorted_groups() %}{% endmacro %}
{% macro mysql__sorted_groups() %}sql_big_result{% endmacro %}

{#
    The same for a table's groups by some of its columns: where they are its key, its rows are sorted already. A view has no
    key; its rows come in the order of the table that it reads first.
#}
{% macro sorted_groups_of(relation, columns) %}{{ return(adapter.dispatch('sorted_groups_of')(relation, columns)) }}{% endmacro %}
{% macro default__sorted_groups_of(relation, columns) %}{% endmacro %}
{% macro mysql__sorted_groups_of(relation, columns) -%}
    {%- set keys = [] -%}
    {%- if execute and relation is not string -%}
        {%- set keys = run_query(
            'select group_concat(column_name order by seq_in_index) from information_schema.statistics where table_schema = '
            ~ mysql_text(relation.schema, 64) ~ ' and table_name = ' ~ mysql_text(relation.identifier, 64) ~ ' group by index_name'
        ).columns[0].values() -%}
    {%- endif -%}
    {%- if keys and columns | join(',') not in keys %}sql_big_result{% endif -%}
{%- endmacro %}
