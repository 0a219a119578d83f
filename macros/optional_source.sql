{#
    The raw table of that name, or an empty one of the same shape where the shop has none.
    columns: {name: cast macro, such as to_bigint}; a column the table lacks comes back as null.
#}
{% macro optional_source(name, columns) -%}
    {%- set relation = existing_source(name) -%}
    {%- set present = columns_of(relation) -%}
    (
        select
        {%- for column, to_type in columns.items() %}
            {{ to_type(adapter.quote(column) if column in present else 'null') }} as {{ adapter.quote(column) }}
            {%- if not loop.last %},{% endif %}
        {%- endfor %}
        {%- if relation is not none %}
        from {{ relation }}
        {%- else %}
        from (select 1 as nothing) as no_table
        where 1 = 0
        {%- endif %}
    )
{%- endmacro %}

{# A raw table, where it is there; else none. #}
{% macro existing_source(name) %}
    {%- set wanted = source('raw', name) -%}
    {{ return(adapter.get_relation(wanted.database, wanted.schema, wanted.identifier) if execute else none) }}
{% endmacro %}

{# The columns of a relation, in small letters; none of no relation. #}
{% macro columns_of(relation) %}
    {{ return([] if relation is none else get_columns_in_query('select * from ' ~ relation) | map('lower') | list) }}
{% endmacro %}

{# Whether a raw table is there and holds a row. #}
{% macro has_rows(name) %}
    {%- set relation = existing_source(name) -%}
    {{ return(relation is not none and run_query('select 1 as found from ' ~ relation ~ ' limit 1') | length > 0) }}
{% endmacro %}
