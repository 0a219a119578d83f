{#
    Makes an empty table for each source `predictions` that is not there, so that models/bi works before the first
    training. A table that is there is never touched: it is ml's.
#}
{% macro create_prediction_tables() %}
    {% if execute and flags.WHICH in ['run', 'build'] %}
        {% for table in graph.sources.values() if table.source_name == 'predictions' %}
            {% if adapter.get_relation(table.database, table.schema, table.identifier) is none %}
                {% do run_query(create_prediction_table(
                    api.Relation.create(database=table.database, schema=table.schema, identifier=table.identifier), table
                )) %}
            {% endif %}
        {% endfor %}
    {% endif %}
{% endmacro %}

{# With the key that ml enforces, and no null where ml writes none. #}
{% macro create_prediction_table(relation, table) -%}
    create table if not exists {{ relation }} (
        {%- for column in table.columns.values() %}
        {{ adapter.quote(column.name) }} {{ prediction_type(column.data_type, column.name in table.meta['key']) }}
        {%- if column.meta.get('required') %} not null{% endif %},
        {%- endfor %}
        primary key ({{ table.meta['key'] | join(', ') }})
    ){{ prediction_table_options(table.description) }}
{%- endmacro %}

{# A type of the sources' yml as the engine calls it. #}
{% macro prediction_type(data_type, is_key) %}{{ return(adapter.dispatch('prediction_type')(data_type, is_key)) }}{% endmacro %}
{% macro default__prediction_type(data_type, is_key) -%}
    {{ return({'text': 'varchar'}.get(data_type, data_type)) }}
{%- endmacro %}
{# What ml gives them: ml/warehouse_mysql.py. Times keep their microseconds. #}
{% macro mysql__prediction_type(data_type, is_key) -%}
    {{ return({'text': 'varchar(255)', 'boolean': 'tinyint(1)', 'timestamp': 'datetime(6)'}.get(data_type, data_type)) }}
{%- endmacro %}

{% macro prediction_table_options(description) %}{{ return(adapter.dispatch('prediction_table_options')(description)) }}{% endmacro %}
{% macro default__prediction_table_options(description) %}{% endmacro %}
{# Texts compare byte by byte, as in every other table. #}
{% macro mysql__prediction_table_options(description) %}
    engine = InnoDB default character set utf8mb4 collate /*!80017 utf8mb4_0900_bin */ /*M!100600 utf8mb4_nopad_bin */
    comment = {{ mysql_text(description, 2048) }}
{% endmacro %}
