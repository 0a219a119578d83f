{# What dbt asks of a DuckDB file first, in SQL that takes no quote in its name. #}
{% macro duckdb__list_schemas(database) -%}
    {%- if "'" in target.database or '"' in target.database -%}
        {%- do exceptions.raise_compiler_error(
            'The DuckDB file must have no quote in its name, as ' ~ target.path ~ ' has (FUNNELIFT_DUCKDB_PATH)'
        ) -%}
    {%- endif -%}
    {{ return(run_query("select schema_name from system.information_schema.schemata where catalog_name = '" ~ target.database ~ "'")) }}
{%- endmacro %}
