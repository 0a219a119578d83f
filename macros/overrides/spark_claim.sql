{#
    Builds on Spark. One that was killed may leave a folder that belongs to no table, and Spark makes no table where there is
    something. The database says whether a build has begun and not ended; the next one then clears each table's place.
#}
{% macro spark__claim_build() %}
    {% if execute and flags.WHICH in ['run', 'build'] %}
        {% set told = run_query('describe database extended ' ~ target.schema) %}
        {% for row in told if row[0] == 'Properties' and '(funnelift.build,begun)' in row[1] %}
            {% for place in told if place[0] == 'Location' %}{% do graph.update({'place_to_clear': place[1]}) %}{% endfor %}
        {% endfor %}
        {% do spark_build_is('begun') %}
    {% endif %}
{% endmacro %}

{% macro spark__release_build() %}
    {% if execute and flags.WHICH in ['run', 'build'] %}{% do spark_build_is('ended') %}{% endif %}
{% endmacro %}

{% macro spark_build_is(state) %}
    {% do run_query('alter database ' ~ target.schema ~ " set dbproperties ('funnelift.build' = '" ~ state ~ "')") %}
{% endmacro %}

{#
    Empties the folder of a table that does not exist, after a build that was killed. SQL knows no other way: an overwritten
    table with partitions loses its folder's content, and without rows nothing takes its place.
#}
{% macro spark_clear_place(relation) %}
    {% if graph.get('place_to_clear') %}
        {% set gone = relation.incorporate(path={'identifier': relation.identifier ~ '__gone'}) %}
        {% set place = spark_text(graph['place_to_clear'] ~ '/' ~ relation.identifier) %}
        {% do run_query('set mapreduce.fileoutputcommitter.marksuccessfuljobs = false') %}
        {% do run_query('drop table if exists ' ~ gone) %}
        {% do run_query(
            'create table ' ~ gone ~ ' (cell int, part int) using parquet partitioned by (part) location ' ~ place
        ) %}
        {% do run_query('insert overwrite table ' ~ gone ~ ' select 0, 0 where false') %}
        {% do run_query('drop table ' ~ gone) %}
    {% endif %}
{% endmacro %}
