{#
    Tables on MySQL and MariaDB. The new table is complete, with its indexes and comments, before one RENAME puts it in
    the old one's place: a reader sees the old rows or the new ones, never a missing table. What a killed run left behind
    goes at the start of the next.
#}
{% materialization table, adapter='mysql' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set new = api.Relation.create(schema=this.schema, identifier=this.identifier ~ '__new', type='table') -%}
    {%- set old = api.Relation.create(
        schema=this.schema, identifier=this.identifier ~ '__old', type='table' if existing is none else existing.type
    ) -%}

    {% do mysql_session() %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% do mysql_drop_leftovers(this) %}
    {% call statement('main') -%}
        {{ get_create_table_as_sql(False, new, sql) }}
    {%- endcall %}
    {# Without it the optimizer takes a table that was just filled for an empty one. #}
    {% do run_query('analyze table ' ~ new) %}
    {% do persist_docs(new, model) %}
    {% call statement('swap') -%}
        rename table {% if existing is not none %}{{ existing }} to {{ old }}, {% endif %}{{ new }} to {{ target_relation }}
    {%- endcall %}
    {% do mysql_drop_leftovers(this) %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do apply_grants(target_relation, config.get('grants'), should_revoke=should_revoke(existing, full_refresh_mode=True)) %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{#
    A view is replaced in one statement; only a table of its name has to make way first. It reads with the rights of whoever
    asks: a definer's roles do not count on MariaDB.
#}
{% materialization view, adapter='mysql' %}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- set existing = load_cached_relation(this) -%}

    {% do mysql_session() %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if config.get('contract').enforced %}{% do mysql_columns_of(sql) %}{% endif %}
    {% if existing is not none and not existing.is_view %}{% do adapter.drop_relation(existing) %}{% endif %}
    {% call statement('main') -%}
        create or replace sql security invoker view {{ target_relation }} as {{ sql }}
    {%- endcall %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do apply_grants(target_relation, config.get('grants'), should_revoke=should_revoke(existing, full_refresh_mode=True)) %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{# The old relation may have been a view; a table and a view cannot share the name. #}
{% macro mysql_drop_leftovers(relation) %}
    {% for suffix in ['__new', '__old'] %}
        {% for type in ['table', 'view'] %}
            {% call statement('drop_leftover') -%}
                drop {{ type }} if exists {{ api.Relation.create(schema=relation.schema, identifier=relation.identifier ~ suffix) }}
            {%- endcall %}
        {% endfor %}
    {% endfor %}
{% endmacro %}

{#
    What a table's yml says becomes its definition: with a contract all columns, else those of its grain that have a type
    and those that the server numbers itself (meta.numbered). The grain is the primary key, behind the columns by which
    rows lie together on the disk (meta.clustered_by). The session is set here too, because incremental models and
    snapshots are dbt-mysql's own and do not.
#}
{% macro mysql__create_table_as(temporary, relation, sql) -%}
    {%- do mysql_session() -%}
    {%- set is_whole, meta = config.get('contract').enforced, config.get('meta', {}) -%}
    {%- set grain, definitions = meta.get('grain', []), [] -%}
    {%- if is_whole -%}
        {# A query that gives the columns in order needs no second one around it, which would keep every row once more. #}
        {%- if mysql_columns_of(sql) != model.columns.keys() | map('lower') | list -%}
            {%- set sql = get_select_subquery(sql) -%}
        {%- endif -%}
    {%- endif -%}
    {%- set typed = {} -%}
    {%- for column in model.columns.values() if column.data_type and (is_whole or column.name in grain) -%}
        {%- do typed.update({column.name: mysql_column(column, column.name in grain)}) -%}
    {%- endfor -%}
    {%- do definitions.extend(adapter.render_raw_columns_constraints(raw_columns=typed)) -%}
    {%- for column in model.columns.values() if 'unique' in column.constraints | map(attribute='type') -%}
        {%- do definitions.append('unique (' ~ adapter.quote(column.name) ~ ')') -%}
    {%- endfor -%}
    {%- do definitions.extend(adapter.render_raw_model_constraints(raw_constraints=model.constraints)) -%}
    {%- if grain and not temporary -%}
        {%- set key = meta.get('clustered_by', []) + grain -%}
        {%- do definitions.append('primary key (' ~ key | join(', ') ~ ')') -%}
        {# By their unit (meta.unit) a build finds the rows that it writes anew. #}
        {%- if meta.get('unit') and meta.unit != key[0] -%}{%- do definitions.append('key (' ~ meta.unit ~ ')') -%}{%- endif -%}
    {%- endif -%}
    create {% if temporary %}temporary {% endif %}table {{ relation }}
    {%- if definitions %} ({{ definitions | join(', ') }}) {{ mysql_table_options() }}{% endif %}
    as
    {{ sql }}
{%- endmacro %}

{# A column as dbt renders it: the engine's type, no null in a key, and the constraints of its yml but "unique". #}
{% macro mysql_column(column, is_key) -%}
    {%- set constraints = column.constraints | rejectattr('type', 'equalto', 'unique') | list -%}
    {{ return(dict(
        column, quote=true, constraints=([{'type': 'not_null'}] if is_key else []) + constraints,
        data_type=column_type(column.data_type) ~ (' auto_increment' if column.meta.get('numbered') else '')
    )) }}
{%- endmacro %}

{# The columns that a query gives, in their order; they must be those that the contract names. #}
{% macro mysql_columns_of(sql) -%}
    {%- set given = get_column_schema_from_query(sql) | map(attribute='name') | map('lower') | list -%}
    {%- do check_contract_columns(given) -%}
    {{ return(given) }}
{%- endmacro %}

{# Texts compare byte by byte, as in every other table. #}
{% macro mysql_table_options() -%}
    engine = InnoDB default character set utf8mb4 collate /*!80017 utf8mb4_0900_bin */ /*M!100600 utf8mb4_nopad_bin */
{%- endmacro %}

{# Texts compare byte by byte whatever the server's default is. #}
{% macro mysql__create_schema(relation) -%}
    {%- call statement('create_schema') -%}
        create schema if not exists {{ relation.without_identifier() }}
        character set utf8mb4 collate /*!80017 utf8mb4_0900_bin */ /*M!100600 utf8mb4_nopad_bin */
    {%- endcall -%}
{%- endmacro %}
