{#
    Descriptions as comments. A view has none on MySQL. A column's comment is part of its definition there, so the
    definition is written out again as the server has it; that changes no row.
#}
{% macro mysql__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if relation.is_view or not execute -%}{{ return(none) }}{%- endif -%}
    {%- if for_relation and config.persist_relation_docs() and model.description -%}
        {% do run_query(mysql__alter_relation_comment(relation, model.description)) %}
    {%- endif -%}
    {%- if for_columns and config.persist_column_docs() and model.columns -%}
        {%- set statement = mysql__alter_column_comment(relation, model.columns) -%}
        {%- if statement -%}{% do run_query(statement) %}{%- endif -%}
    {%- endif -%}
{%- endmacro %}

{% macro mysql__alter_relation_comment(relation, comment) -%}
    alter table {{ relation }} comment = {{ mysql_text(comment, 2048) }}
{%- endmacro %}

{% macro mysql__alter_column_comment(relation, column_dict) -%}
    {%- set described = {} -%}
    {%- for name, column in column_dict.items() if column.description -%}
        {%- do described.update({name | lower: column.description}) -%}
    {%- endfor -%}
    {%- set changes = [] -%}
    {%- for column in run_query(
        'select column_name, column_type, collation_name, is_nullable, extra from information_schema.columns where table_schema = '
        ~ mysql_text(relation.schema, 64) ~ ' and table_name = ' ~ mysql_text(relation.identifier, 64) ~ ' order by ordinal_position'
    ) if column[0] | lower in described -%}
        {%- do changes.append(
            'modify ' ~ adapter.quote(column[0]) ~ ' ' ~ column[1]
            ~ (' collate ' ~ column[2] if column[2] else '')
            ~ (' not null' if column[3] == 'NO' else ' null')
            ~ (' auto_increment' if 'auto_increment' in column[4] | lower else '')
            ~ ' comment ' ~ mysql_text(described[column[0] | lower], 1024)
        ) -%}
    {%- endfor -%}
    {%- if changes -%}alter table {{ relation }} {{ changes | join(', ') }}{%- endif -%}
{%- endmacro %}

{# A text literal, cut to the length that fits. #}
{% macro mysql_text(text, length) -%}
    '{{ (text | trim)[:length] | replace("\\", "\\\\") | replace("'", "''") }}'
{%- endmacro %}
