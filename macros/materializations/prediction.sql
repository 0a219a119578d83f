{#
    A table that ml writes. Where it is missing, an empty one of the contract's shape is made, so that what reads it works
    before the first training. A table that is there is ml's: nothing touches it, --full-refresh neither.
#}
{% materialization prediction, default %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}

    {{ run_hooks(pre_hooks) }}
    {% if existing is none %}
        {% call statement('main') -%}{{ create_prediction_table(target_relation) }}{%- endcall %}
        {% do persist_docs(target_relation, model) %}
    {% else %}
        {#- The check alone opens no transaction on a server, and the commit below wants one. #}
        {% call statement('present') -%}select 1 as is_present{%- endcall %}
        {% do check_prediction_table(existing) %}
        {% call noop_statement('main', 'PRESENT') -%}{%- endcall %}
    {% endif %}
    {{ run_hooks(post_hooks) }}
    {% do apply_grants(target_relation, config.get('grants'), should_revoke=false) %}
    {{ adapter.commit() }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{# With the key that ml enforces, and no null where ml writes none. #}
{% macro create_prediction_table(relation) %}{{ return(adapter.dispatch('create_prediction_table')(relation)) }}{% endmacro %}
{% macro default__create_prediction_table(relation) -%}
    create table if not exists {{ relation }} (
        {%- for column in model.columns.values() %}
        {{ adapter.quote(column.name) }} {{ column_type(column.data_type) }}{% if not column.meta.get('nullable') %} not null{% endif %},
        {%- endfor %}
        primary key ({{ config.get('meta').grain | join(', ') }})
    )
{%- endmacro %}
{% macro mysql__create_prediction_table(relation) -%}
    {%- do mysql_session() -%}
    {{ default__create_prediction_table(relation) }} {{ mysql_table_options() }}
{%- endmacro %}
{# Spark enforces no key. #}
{% macro spark__create_prediction_table(relation) -%}
    create table if not exists {{ relation }} (
        {%- for column in model.columns.values() %}
        {{ adapter.quote(column.name) }} {{ column_type(column.data_type) }}{% if not loop.last %},{% endif %}
        {%- endfor %}
    ) using {{ env_var('FUNNELIFT_SPARK_FORMAT', 'parquet') }}
{%- endmacro %}

{% macro check_prediction_table(relation) %}
    {%- set found, promised = get_columns_in_query('select * from ' ~ relation) | list, model.columns.keys() | list -%}
    {%- if found != promised -%}
        {%- set lacking, surplus = promised | reject('in', found) | list, found | reject('in', promised) | list -%}
        {% do exceptions.raise_compiler_error(
            relation.include(database=false) ~ ' was written by another version: '
            ~ ('it lacks ' ~ (lacking | join(', ') or 'nothing') ~ ' and has ' ~ (surplus | join(', ') or 'nothing') ~ ' too much'
               if lacking or surplus else 'its columns stand in the order ' ~ found | join(', '))
            ~ '. Rename or drop the table, run `dbt build` again, then `python -m ml.train`'
        ) %}
    {%- endif -%}
{% endmacro %}
