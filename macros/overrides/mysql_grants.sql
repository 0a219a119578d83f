{#
    Config `grants`. A grantee is a role, a user (on any host) or user@host. Privileges stay with a table's name when the
    table is swapped for a new one, so what is granted already is looked up first, as far as this user may see it.
#}
{% macro mysql__get_show_grant_sql(relation) -%}
    select
        case
            when grantee like '%@''''' or grantee like '%@''\%''' then replace(substring_index(grantee, '@', 1), '''', '')
            else replace(grantee, '''', '')
        end as grantee,
        lower(privilege_type) as privilege_type
    from information_schema.table_privileges
    where
        table_schema = {{ mysql_text(relation.schema, 64) }}
        and table_name = {{ mysql_text(relation.identifier, 64) }}
        and replace(grantee, '''', '') <> current_user()
{%- endmacro %}

{% macro mysql__get_grant_sql(relation, privilege, grantees) -%}
    grant {{ privilege }} on {{ relation }} to {{ mysql_grantees(grantees) }}
{%- endmacro %}

{% macro mysql__get_revoke_sql(relation, privilege, grantees) -%}
    revoke {{ privilege }} on {{ relation }} from {{ mysql_grantees(grantees) }}
{%- endmacro %}

{# One statement at a time is what the driver takes. #}
{% macro mysql__call_dcl_statements(dcl_statement_list) %}
    {% for statement in dcl_statement_list %}{% do run_query(statement) %}{% endfor %}
{% endmacro %}

{% macro mysql_grantees(grantees) -%}
    {%- for grantee in grantees -%}
        {%- set name = grantee.split('@') -%}
        {{ mysql_text(name[0], 80) }}{% if name | length > 1 %}@{{ mysql_text(name[1], 255) }}{% endif %}
        {%- if not loop.last %}, {% endif -%}
    {%- endfor -%}
{%- endmacro %}
