{#
    The raw table of that name, or an empty one of the same shape where the shop has none.
    columns: {name: cast macro, such as to_bigint}; a column the table lacks comes back as null.
#}
{% macro optional_source(name, columns) -%}
    {%- set relation = existing_source(name) -%}
    {%- set present, typed = columns_of(relation), columns_of_type(relation, columns) -%}
    (
        select
        {%- for column, to_type in columns.items() %}
            {% if column not in typed %}{{ to_type(adapter.quote(column) if column in present else 'null') }} as {% endif %}{{ adapter.quote(column) }}
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

{#
    Those of a raw table's columns that are of their type already, where casting them again would cost something: MySQL and
    MariaDB look up no cast in an index and put none into a hash table.
#}
{% macro columns_of_type(relation, columns) %}{{ return(adapter.dispatch('columns_of_type')(relation, columns)) }}{% endmacro %}
{% macro default__columns_of_type(relation, columns) %}{{ return([]) }}{% endmacro %}
{% macro mysql__columns_of_type(relation, columns) %}
    {%- set typed = [] -%}
    {%- if relation is none -%}{{ return(typed) }}{%- endif -%}
    {%- for column in run_query(
        'select lower(column_name) as name, data_type as type, column_type as whole_type, character_maximum_length as size, '
        ~ 'collation_name as collation from information_schema.columns where table_schema = ' ~ mysql_text(relation.schema, 64)
        ~ ' and table_name = ' ~ mysql_text(relation.identifier, 64)
    ) if column['name'] in columns -%}
        {%- set cast = columns[column['name']]('') -%}
        {%- if (cast == to_bigint('') and column['type'] == 'bigint' and 'unsigned' not in column['whole_type'])
            or (cast == to_money('') and column['whole_type'] == 'decimal(18,4)')
            or (cast == to_short_text('') and column['type'] == 'varchar' and column['size'] <= 128
                and column['collation'] in ['utf8mb4_nopad_bin', 'utf8mb4_0900_bin']) -%}
            {%- do typed.append(column['name']) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(typed) }}
{% endmacro %}

{# A raw table, where it is there; else none. #}
{% macro existing_source(name) %}{{ return(found_source(source('raw', name)) if execute else none) }}{% endmacro %}

{#
    A source's relation, where it is there; else none. dbt lists a schema that holds no models when the first node asks for it,
    one table after the other, and nodes that ask meanwhile see a part of the list. What is not in it is looked up.
#}
{% macro found_source(wanted) %}
    {%- set listed = adapter.get_relation(wanted.database, wanted.schema, wanted.identifier) -%}
    {%- if listed is none and run_query(look_up_source(wanted)) | length > 0 -%}{{ return(wanted) }}{%- endif -%}
    {{ return(listed) }}
{% endmacro %}

{# A query with a row where a table or view is there. Names are compared as the engine compares them. #}
{% macro look_up_source(wanted) %}{{ return(adapter.dispatch('look_up_source')(wanted)) }}{% endmacro %}
{% macro default__look_up_source(wanted) -%}
    select 1 as found
    from information_schema.tables
    where
        lower(table_catalog) = lower({{ dbt.string_literal(dbt.escape_single_quotes(wanted.database)) }})
        and lower(table_schema) = lower({{ dbt.string_literal(dbt.escape_single_quotes(wanted.schema)) }})
        and lower(table_name) = lower({{ dbt.string_literal(dbt.escape_single_quotes(wanted.identifier)) }})
{%- endmacro %}
{% macro mysql__look_up_source(wanted) -%}
    select 1 as found
    from information_schema.tables
    where table_schema = {{ mysql_text(wanted.schema, 64) }} and table_name = {{ mysql_text(wanted.identifier, 64) }}
{%- endmacro %}
{% macro spark__look_up_source(wanted) -%}
    {%- if run_query('show schemas like ' ~ spark_text(wanted.schema)) | length > 0 -%}
        show tables in {{ adapter.quote(wanted.schema) }} like {{ spark_text(wanted.identifier) }}
    {%- else -%}
        select 1 as found where 1 = 0
    {%- endif -%}
{%- endmacro %}

{# The columns of a relation, in small letters; none of no relation. #}
{% macro columns_of(relation) %}
    {{ return([] if relation is none else get_columns_in_query('select * from ' ~ relation) | map('lower') | list) }}
{% endmacro %}

{# Whether a raw table is there and holds a row. #}
{% macro has_rows(name) %}
    {%- set relation = existing_source(name) -%}
    {{ return(relation is not none and run_query('select 1 as found from ' ~ relation ~ ' limit 1') | length > 0) }}
{% endmacro %}
