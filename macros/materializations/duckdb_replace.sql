{#
    Tables and views on DuckDB: in one transaction the old one goes, the new one comes, under its own name, and its comments
    are written. dbt's own way builds under a second name and renames both, which takes each model five statements more.
#}
{% materialization table, adapter='duckdb' %}{{ return(duckdb_replace('table')) }}{% endmaterialization %}
{% materialization view, adapter='duckdb' %}{{ return(duckdb_replace('view')) }}{% endmaterialization %}

{% macro duckdb_replace(type) %}
    {%- set target_relation = this.incorporate(type=type) -%}
    {%- set existing = load_cached_relation(this) -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% call statement('main') -%}
        {%- if type == 'table' and existing is not none and existing.is_table and not config.get('contract').enforced -%}
        {# In one statement, because a table of builds reads what the last build left in it. #}
        create or replace table {{ target_relation }} as ({{ sql }})
        {%- else -%}
        {% if existing is not none %}drop {{ existing.type }} if exists {{ existing }};{% endif %}
        {{ create_table_as(False, target_relation, sql) if type == 'table' else create_view_as(target_relation, sql) }}
        {%- endif -%}
    {%- endcall %}
    {% do create_indexes(target_relation) %}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmacro %}

{# All comments in one statement; dbt-duckdb looks the columns up first, though the yml names them. #}
{% macro duckdb__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- set comments = [] -%}
    {%- if for_relation and config.persist_relation_docs() and model.description -%}
        {%- do comments.append(relation.type ~ ' ' ~ relation ~ ' is ' ~ duckdb_escape_comment(model.description)) -%}
    {%- endif -%}
    {%- if for_columns and config.persist_column_docs() -%}
        {%- for column in model.columns.values() if column.description -%}
            {%- do comments.append(
                'column ' ~ relation ~ '.' ~ adapter.quote(column.name) ~ ' is ' ~ duckdb_escape_comment(column.description)
            ) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if comments -%}
        {% call statement('comments') -%}
            {% for comment in comments %}comment on {{ comment }};{% endfor %}
        {%- endcall %}
    {%- endif -%}
{%- endmacro %}
