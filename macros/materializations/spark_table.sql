{#
    Tables on Spark: the new one is whole before the old one goes and the new one gets its name. A killed build leaves the old
    rows, or the new ones under `__new`, and the next build goes on from there.
#}
{% materialization table, adapter='spark' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set new = api.Relation.create(schema=this.schema, identifier=this.identifier ~ '__new', type='table') -%}

    {{ run_hooks(pre_hooks) }}
    {% call statement('drop_leftover') %}drop table if exists {{ new }}{% endcall %}
    {% do spark_clear_place(new) %}
    {% call statement('main') -%}{{ get_create_table_as_sql(False, new, sql) }}{%- endcall %}
    {% if existing is not none %}{% do adapter.drop_relation(existing) %}{% endif %}
    {% if graph.get('place_to_clear') %}
        {# A folder may be where the table is to be, and a cleared one stays; a table can be made there, but not moved. #}
        {% do spark_clear_place(target_relation) %}
        {% call statement('copy') -%}
            {{ get_create_table_as_sql(False, target_relation, 'select * from ' ~ new) }}
        {%- endcall %}
        {% call statement('drop_copied') %}drop table {{ new }}{% endcall %}
    {% else %}
        {% call statement('rename') %}alter table {{ new }} rename to {{ target_relation }}{% endcall %}
    {% endif %}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{# A contract's columns in their order and of their types; what does not fit its type is an error. #}
{% macro spark__create_table_as(temporary, relation, sql) -%}
    {%- set columns = spark_contract_columns(sql) -%}
    create table {{ relation }} using {{ env_var('FUNNELIFT_SPARK_FORMAT', 'parquet') }}
    {%- if config.persist_relation_docs() and model.description %} comment {{ spark_text(model.description) }}{% endif %}
    as
    {%- if columns %}
    select
        {%- for column in columns %}
        cast({{ adapter.quote(column.name) }} as {{ column_type(column.data_type) }}) as {{ adapter.quote(column.name) }}
        {%- if not loop.last %},{% endif %}
        {%- endfor %}
    from (
        {{ sql }}
    ) as contract_rows
    {%- else %}
    {{ sql }}
    {%- endif %}
{%- endmacro %}

{% macro spark__create_view_as(relation, sql) -%}
    {%- do spark_contract_columns(sql) -%}
    create or replace view {{ relation }}
    {%- if config.persist_relation_docs() and model.description %} comment {{ spark_text(model.description) }}{% endif %}
    as
    {{ sql }}
{%- endmacro %}

{# The columns of an enforced contract, which must be those that the query gives; none without one. #}
{% macro spark_contract_columns(sql) -%}
    {%- if not config.get('contract').enforced -%}{{ return([]) }}{%- endif -%}
    {%- do check_contract_columns(get_columns_in_query(sql) | map('lower') | list) -%}
    {{ return(model['columns'].values() | list) }}
{%- endmacro %}

{% macro spark_text(text) -%}
    '{{ (text | trim) | replace("\\", "\\\\") | replace("'", "\\'") }}'
{%- endmacro %}
