{#
    The raw table of that name, or an empty one of the same shape where the shop has none.
    columns: {name: cast macro, such as to_bigint}; a column the table lacks comes back as null.
#}
{% macro optional_source(name, columns) -%}
    {%- set source_relation = source('raw', name) -%}
    {%- set relation = none -%}
    {%- if execute -%}
        {%- set relation = adapter.get_relation(source_relation.database, source_relation.schema, source_relation.identifier) -%}
    {%- endif -%}
    {%- set present = [] -%}
    {%- if relation is not none -%}
        {%- set present = get_columns_in_query('select * from ' ~ relation) | map('lower') | list -%}
    {%- endif -%}
    (
        select
        {%- for column, to_type in columns.items() %}
            {{ to_type(adapter.quote(column) if column in present else 'null') }} as {{ adapter.quote(column) }}
            {%- if not loop.last %},{% endif %}
        {%- endfor %}
        {%- if relation is not none %}
        from {{ source_relation }}
        {%- else %}
        from (select 1 as nothing) as no_table
        where 1 = 0
        {%- endif %}
    )
{%- endmacro %}

{# Whether a table is there and holds a row. #}
{% macro has_rows(source_relation) %}
    {%- set relation = none -%}
    {%- if execute -%}
        {%- set relation = adapter.get_relation(source_relation.database, source_relation.schema, source_relation.identifier) -%}
    {%- endif -%}
    {{ return(relation is not none and run_query('select 1 as found from ' ~ relation ~ ' limit 1') | length > 0) }}
{% endmacro %}
