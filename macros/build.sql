{#
    What a build has to do. build_plan decides it once; every other model asks here. docs/incremental.md tells the whole.
    A model can read what an earlier build left of a table that depends on it, so it is named, not referred to.
#}
{% macro built(name) %}{{ return(adapter.get_relation(target.database, target.schema, name) if execute else none) }}{% endmacro %}

{# The one row of a table that an earlier build, or this one, left; nothing where there is none. #}
{% macro built_row(name) %}
    {%- set kept = graph.get('kept_rows_' ~ invocation_id, {}) -%}
    {%- if name in kept -%}{{ return(kept[name]) }}{%- endif -%}
    {%- set relation = built(name) -%}
    {%- if relation is not none -%}
        {%- for row in run_query('select * from ' ~ relation) -%}{{ return(row) }}{%- endfor -%}
    {%- endif -%}
    {{ return(none) }}
{% endmacro %}

{#
    Keeps this model's one row for the rest of the command: every model and test asks for the plan, some of them five times.
    `graph` is what dbt shares between nodes; where it did not, each would look the row up.
#}
{% macro keep_row() %}
    {%- if execute -%}
        {%- for row in run_query('select * from ' ~ this) -%}
            {%- do graph.update({'kept_rows_' ~ invocation_id: {this.identifier: row}}) -%}
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}

{# Whether this build looks at what has changed, and not at everything. #}
{% macro is_changes_build() %}
    {%- set plan = built_row('build_plan') if execute and not flags.FULL_REFRESH -%}
    {{ return(plan is not none and plan and plan['is_full'] == 0) }}
{% endmacro %}

{# Whether this model writes its touched rows alone: it must be there whole for that. #}
{% macro is_touched_build() %}
    {%- set existing = load_cached_relation(this) if execute -%}
    {{ return(existing is not none and existing and existing.is_table and is_changes_build()) }}
{% endmacro %}

{# The rows that this model has to look at, to stand behind `from`: those of touched units, or all of them. #}
{% macro touched(relation, unit='visitor_key', by='int_touched_visitors', alias=none, are_few=true) -%}
    {%- set units = ref(by) -%}
    {%- if is_touched_build() -%}
    {{ rows_of_units(relation, unit, units, alias or 'touched_rows', are_few) }}
    {%- else -%}
    {{ relation }}{% if alias %} as {{ alias }}{% endif %}
    {%- endif -%}
{%- endmacro %}

{#
    For models whose rows are days (meta.by_day): the condition under which a build that writes touched rows writes a row.
    Rows of days before the first changed one stay as they are. days_before: how many more days the model has to read.
#}
{% macro and_changed_days(day_number='day_number', days_before=0) -%}
    {%- set first_day = run_query('select min(day_number) from ' ~ built('int_changed_events'))[0][0] if is_touched_build() -%}
    {%- if is_touched_build() %}
    and {{ day_number }} >= {{ 'null' if first_day is none else first_day | int - days_before }}
    {%- endif -%}
{%- endmacro %}

{# What an interrupted build had found changed is still to do: its rows in this table stay. #}
{% macro and_unfinished(columns) -%}
    {%- set plan = built_row('build_plan') if execute -%}
    {%- if is_changes_build() and plan['is_continued'] == 1 and built(this.identifier) is not none %}
    union
    select {{ columns | join(', ') }} from {{ this }}
    {%- endif -%}
{%- endmacro %}

{#
    The numbers of a raw table's loads that are new or withdrawn in a build of what has changed, to stand behind `in`. As
    numbers, because no engine then looks them up for every raw row; a null where there are none.
#}
{% macro loads_that_are(what, raw_table) %}
    {%- set numbers = [] -%}
    {%- if is_changes_build() -%}
        {%- set numbers = run_query(
            'select load_number from ' ~ built('build_loads') ~ " where raw_table = '" ~ raw_table ~ "' and is_" ~ what ~ ' = 1'
        ).columns[0].values() | map('int') | list -%}
    {%- endif -%}
    {{ return((numbers or ['null']) | join(', ')) }}
{% endmacro %}

{#
    A visitor's events and sessions are numbered from 1; a key is the visitor's number and theirs in one whole number. So
    neighbours have neighbouring keys, and a late event moves no other visitor's.
#}
{% macro key_of(visitor_key, number) %}({{ visitor_key }} * {{ numbers_a_visitor() }} + {{ number }}){% endmacro %}
{% macro number_of(key, visitor_key) %}({{ key }} - {{ visitor_key }} * {{ numbers_a_visitor() }}){% endmacro %}
{% macro numbers_a_visitor() %}{{ return(4194304) }}{% endmacro %}

{# Whether this command builds every table, so that at its end the marts belong together. #}
{% macro is_whole_build() %}
    {%- set plan = built_row('build_plan') if execute -%}
    {%- if not plan or plan['build_id'] != invocation_id -%}{{ return(false) }}{%- endif -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model'
        and node.config.materialized in ['table', 'touched'] and node.unique_id not in selected_resources -%}
        {{ return(false) }}
    {%- endfor -%}
    {{ return(true) }}
{% endmacro %}

{# Whether the shop names its events, so that one sent again takes the place of the first; looked up once a build. #}
{% macro has_event_ids() %}
    {%- set plan = built_row('build_plan') if execute -%}
    {{ return(plan is not none and plan and plan['has_event_ids'] == 1) }}
{% endmacro %}

{# Whether the shop takes purchases back; looked up once a build. Before the first one: it may. #}
{% macro has_refunds() %}
    {%- set plan = built_row('build_plan') if execute -%}
    {{ return(not plan or plan['has_refunds'] == 1) }}
{% endmacro %}

{# The refunds that the last build knew, where this build has to look at refunds; else none. #}
{% macro known_refunds() %}
    {%- set refunds = built('int_refunds') if is_changes_build() -%}
    {%- if not refunds or not (has_refunds() or run_query('select 1 as found from ' ~ refunds ~ ' limit 1') | length > 0) -%}
        {{ return(none) }}
    {%- endif -%}
    {{ return(refunds) }}
{% endmacro %}

{#
    Refunds that came, went or were sent again since the last whole build, to stand behind `from`: who, of which order, by
    which id. For builds of what has changed.
    refunds: int_refunds, as the last build left it
#}
{% macro changed_refunds(refunds) -%}
    (
        select
            visitor_id,
            coalesce(transaction_id, '') as transaction_id,
            event_id
        from {{ ref('stg_refunds') }}
        where load_number in ({{ loads_that_are('new', 'raw_events') }})
        union
        select
            visitor_id,
            transaction_id,
            nullif(event_id, '') as event_id
        from {{ refunds }}
        where load_number in ({{ loads_that_are('withdrawn', 'raw_events') }})
    )
{%- endmacro %}
