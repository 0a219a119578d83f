{#
    An inner join whose left table is read first. MySQL and MariaDB else begin with the shorter table, whose order says
    nothing of the other's key, so that a view's rows are looked up one by one and sorted.
#}
{% macro join_in_order() %}{{ return(adapter.dispatch('join_in_order')()) }}{% endmacro %}
{% macro default__join_in_order() %}inner join{% endmacro %}
{% macro mysql__join_in_order() %}straight_join{% endmacro %}
