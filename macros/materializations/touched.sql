{#
    A table of which a build writes only what is touched. A whole build makes it as any table. Else, in one transaction, the
    rows of touched units go and the model's query, which reads touched units alone, puts their new rows in. Its meta says:
    unit     column that names the unit of work, such as visitor_key; without one, rows are only ever added
    touched  model that holds the touched units, in a column of that name
    by_day   a row is a day of its unit (day_number) and reads no later day
    follows  raw table that is all the model reads: where none of its loads is new or withdrawn, the model stays as it is
#}
{% materialization touched, default %}
    {%- set meta = config.get('meta', {}) -%}
    {%- if not is_touched_build() or (meta.get('follows') and has_moved(meta.follows)) -%}
        {{ return(materialize_table()) }}
    {%- endif -%}
    {%- set relation = load_cached_relation(this) -%}
    {%- if meta.get('follows') -%}
        {% call noop_statement('main', 'AS IT WAS') -%}{%- endcall %}
        {{ return({'relations': [relation]}) }}
    {%- endif -%}
    {%- set unit, columns = meta.get('unit'), [] -%}
    {%- for column in get_columns_in_query('select * from ' ~ relation) if adapter.quote(column) not in numbered_columns() -%}
        {%- do columns.append(adapter.quote(column)) -%}
    {%- endfor -%}

    {% do start_session() %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% if unit %}
        {% call statement('delete') -%}
            {{- delete_touched(relation, unit, built(meta.touched)) }}
            {%- if meta.get('by_day') %}{{ and_changed_days() }}{% endif -%}
        {%- endcall %}
    {% endif %}
    {% call statement('main') -%}
        insert into {{ relation }} ({{ columns | join(', ') }})
        select {{ columns | join(', ') }} from (
            {{ sql }}
        ) as touched_rows
    {%- endcall %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{# Whether a load of a raw table is new or withdrawn, or an interrupted build may have left its work half done. #}
{% macro has_moved(raw_table) %}
    {%- set plan = built_row('build_plan') -%}
    {%- set moved = run_query(
        'select count(*) from ' ~ built('build_loads') ~ " where is_new + is_withdrawn > 0 and raw_table = '" ~ raw_table ~ "'"
    )[0][0] -%}
    {{ return(plan['is_continued'] == 1 or moved > 0) }}
{% endmacro %}

{# The columns that a table numbers itself (meta.numbered), as the engine quotes them. #}
{% macro numbered_columns() %}{{ return(adapter.dispatch('numbered_columns')()) }}{% endmacro %}
{% macro default__numbered_columns() %}{{ return([]) }}{% endmacro %}
{% macro mysql__numbered_columns() %}
    {%- set names = [] -%}
    {%- for column in model.columns.values() if column.meta.get('numbered') -%}{%- do names.append(adapter.quote(column.name)) -%}{%- endfor -%}
    {{ return(names) }}
{% endmacro %}

{% macro materialize_table() %}{{ return(adapter.dispatch('materialize_table')()) }}{% endmacro %}
{% macro duckdb__materialize_table() %}{{ return(materialization_table_duckdb()) }}{% endmacro %}
{% macro mysql__materialize_table() %}{{ return(materialization_table_mysql()) }}{% endmacro %}
{% macro spark__materialize_table() %}{{ return(materialization_table_spark()) }}{% endmacro %}

{# What an engine wants said to its session before it writes. #}
{% macro start_session() %}{{ return(adapter.dispatch('start_session')()) }}{% endmacro %}
{% macro default__start_session() %}{% endmacro %}
{% macro mysql__start_session() %}{% do mysql_session() %}{% endmacro %}

{% macro delete_touched(relation, unit, touched) %}{{ return(adapter.dispatch('delete_touched')(relation, unit, touched)) }}{% endmacro %}
{% macro default__delete_touched(relation, unit, touched) -%}
    delete from {{ relation }} where {{ unit }} in (select {{ unit }} from {{ touched }})
{%- endmacro %}
{# A join, because MariaDB would work a subquery out for every row of the table. #}
{% macro mysql__delete_touched(relation, unit, touched) -%}
    delete {{ relation }} from {{ relation }}
    inner join (select distinct {{ unit }} from {{ touched }}) as touched on {{ relation }}.{{ unit }} = touched.{{ unit }}
    where 1 = 1
{%- endmacro %}
