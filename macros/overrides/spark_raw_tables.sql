{#
    Raw tables that `ingest load` wrote for Spark: a list beside them names each, its columns and its folder. A build makes
    them known to the session's catalog, so that a load needs no Spark. Other engines write their raw tables themselves.
#}
{% macro find_raw_tables() %}{{ return(adapter.dispatch('find_raw_tables')()) }}{% endmacro %}
{% macro default__find_raw_tables() %}{% endmacro %}
{% macro spark__find_raw_tables() %}
    {# In profiles.yml a session has its master for a host; a platform has a host name, and tables of its own. #}
    {% if not execute or not modules.re.match('local|spark:|yarn|k8s:', target.host or '') %}{{ return('') }}{% endif %}
    {% set folder = run_query('set spark.sql.warehouse.dir')[0][1] %}
    {% do run_query('create schema if not exists ' ~ var('raw_schema')) %}
    {% do run_query(
        'create or replace temporary view funnelift_raw_tables (name string, columns string, location string) using json options (path '
        ~ spark_text(folder) ~ ", pathGlobFilter 'raw_tables.json')"
    ) %}
    {% set known = {} %}
    {% for row in run_query('show table extended in ' ~ var('raw_schema') ~ " like '*'") %}
        {% do known.update({row['tableName']: row['information']}) %}
    {% endfor %}
    {% for table in run_query('select name, columns, location from funnelift_raw_tables') %}
        {% set information, name = known.get(table['name'], ''), var('raw_schema') ~ '.' ~ table['name'] %}
        {% if information and 'Type: EXTERNAL' not in information %}
            {% do exceptions.raise_compiler_error(
                name ~ ' is a table of your own, and `ingest load` has written one of this name to ' ~ table['location']
                ~ '. Rename yours, and point the vars raw_* at it, or take the loads out (python -m ingest unload)'
            ) %}
        {% elif table['location'] not in information %}
            {% do run_query('drop table if exists ' ~ name) %}
            {% do run_query(
                'create table ' ~ name ~ ' (' ~ table['columns'] ~ ') using parquet location ' ~ spark_text(table['location'])
            ) %}
        {% endif %}
    {% endfor %}
{% endmacro %}
