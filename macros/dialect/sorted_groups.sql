{#
    Goes right behind `select` where a grouping or DISTINCT leaves almost as many groups as there are rows. MySQL and
    MariaDB else keep such groups in a table of their own and look up every row in it, which takes ten times as long as
    sorting.
#}
{% macro sorted_groups() %}{{ return(adapter.dispatch('sorted_groups')()) }}{% endmacro %}
{% macro default__sorted_groups() %}{% endmacro %}
{% macro mysql__sorted_groups() %} sql_big_result{% endmacro %}
