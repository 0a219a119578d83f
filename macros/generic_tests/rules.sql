{#
    The rules of a table: what its yml claims, and its grain (meta.grain). They are checked in as few passes as possible:
    one for all rules of single rows, one for each set of columns that is unique. A broken rule gives one row: its name and
    the number of rows that break it.

    never_null, zero_or_one, never_negative: [column, …]; the latter two let a null pass, as do the next two
    accepted_range: {column: {min_value: …, max_value: …}}, both included, either may be missing
    accepted_values: {column: [value, …]}
    expression_is_true: [expression, …]; null breaks the rule
    unique: [[column, …], …]; together they are
#}
{% test rules(model) %}
{#- dbt has unpacked `arguments:` since 1.10.6; versions before pass on an argument of that name. -#}
{%- set claims = kwargs.get('arguments', kwargs) -%}
{%- set by_row, by_table = rules_by_row(claims), rules_by_table(model, claims) -%}
select
    rule,
    broken_rows
from (
    {%- if by_row %}
    select
        case rule_number
            {%- for rule in by_row %}
            when {{ loop.index }} then {{ rule_text(rule.name) }}
            {%- endfor %}
        end as rule,
        case rule_number
            {%- for rule in by_row %}
            when {{ loop.index }} then broken_{{ loop.index }}
            {%- endfor %}
        end as broken_rows
    from (
        select
            {%- for rule in by_row %}
            count(case when {{ rule.breaks }} then 1 end) as broken_{{ loop.index }}{% if not loop.last %},{% endif %}
            {%- endfor %}
        from {{ tested_rows(model) }}
        where
            {%- for rule in by_row %}
            {% if not loop.first %}or {% endif %}{{ rule.breaks }}
            {%- endfor %}
    ) as counted
    cross join (
        {%- for rule in by_row %}
        {% if not loop.first %}union all {% endif %}select {{ loop.index }} as rule_number
        {%- endfor %}
    ) as rules
    {%- endif %}
    {%- for rule in by_table %}
    {% if by_row or not loop.first %}union all{% endif %}
    select {{ rule_text(rule.name) }} as rule, ({{ rule.counts }}) as broken_rows
    {%- endfor %}
) as checked
where broken_rows > 0
{% endtest %}

{# The rows that a table's rules look at: where a build writes touched units alone (meta.unit), theirs alone. #}
{% macro tested_rows(relation) -%}
    {%- set meta = graph.nodes[context.model.attached_node].config.meta if execute else {} -%}
    {{ looked_at(relation, meta.unit, meta.touched) if meta.get('unit') else relation }}
{%- endmacro %}

{#
    The rows that a test looks at, to stand behind `from`. A build of what has changed looks at touched units; a full build
    and `dbt test` look at all rows.
#}
{% macro looked_at(relation, unit='visitor_key', by='int_touched_visitors') -%}
    {%- if execute and flags.WHICH == 'build' and is_changes_build() -%}
    {{ rows_of_units(relation, unit, built(by), 'looked_at') }}
    {%- else -%}
    {{ relation }}
    {%- endif -%}
{%- endmacro %}

{% macro rule_text(name) %}'{{ escape_single_quotes(name) }}'{% endmacro %}

{# [{name, breaks: a condition on a row}]. A name that is no rule is an error, not a rule that nobody checks. #}
{% macro rules_by_row(claims) %}
    {%- set rules = [] -%}
    {%- set unknown = claims.keys() | reject('in', [
        'never_null', 'zero_or_one', 'never_negative', 'accepted_range', 'accepted_values', 'expression_is_true',
        'unique',
    ]) | list -%}
    {%- if unknown -%}{%- do exceptions.raise_compiler_error('There is no rule called ' ~ unknown | join(' or ')) -%}{%- endif -%}
    {%- for kind, condition in [('never_null', ' is null'), ('zero_or_one', ' not in (0, 1)'), ('never_negative', ' < 0')] -%}
        {%- for column in claims.get(kind, []) -%}
            {%- do rules.append({'name': kind ~ ' ' ~ column, 'breaks': column ~ condition}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for column, range in claims.get('accepted_range', {}).items() -%}
        {%- for bound, sign in [('min_value', ' < '), ('max_value', ' > ')] if bound in range -%}
            {%- do rules.append({
                'name': 'accepted_range ' ~ column ~ ', ' ~ bound ~ ' ' ~ range[bound], 'breaks': column ~ sign ~ range[bound]
            }) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for column, values in claims.get('accepted_values', {}).items() -%}
        {%- set literals = [] -%}
        {%- for value in values -%}{%- do literals.append(rule_text(value) if value is string else value) -%}{%- endfor -%}
        {%- do rules.append({
            'name': 'accepted_values ' ~ column ~ ', ' ~ values | join(' or '), 'breaks': column ~ ' not in (' ~ literals | join(', ') ~ ')'
        }) -%}
    {%- endfor -%}
    {%- for expression in claims.get('expression_is_true', []) -%}
        {%- do rules.append({
            'name': 'expression_is_true ' ~ expression, 'breaks': 'not coalesce(' ~ expression ~ ', false)'
        }) -%}
    {%- endfor -%}
    {{ return(rules) }}
{% endmacro %}

{# [{name, counts: a query that counts the rows that break it}] #}
{% macro rules_by_table(model, claims) %}
    {%- set rules, grain = [], graph.nodes[context.model.attached_node].config.meta.grain if execute else [] -%}
    {%- if grain is not defined -%}{%- do exceptions.raise_compiler_error('Its yml states no grain (config.meta.grain)') -%}{%- endif -%}
    {%- if grain -%}
        {%- do rules.append({'name': 'grain ' ~ grain | join(', '), 'counts': rows_of_shared_key(model, grain, may_be_null=false)}) -%}
    {%- else -%}
        {%- do rules.append({'name': 'grain, one row', 'counts': 'select abs(count(*) - 1) from ' ~ tested_rows(model)}) -%}
    {%- endif -%}
    {%- for columns in claims.get('unique', []) -%}
        {%- do rules.append({
            'name': 'unique ' ~ columns | join(', '), 'counts': rows_of_shared_key(model, columns, may_be_null=true)
        }) -%}
    {%- endfor -%}
    {{ return(rules) }}
{% endmacro %}

{% macro rows_of_shared_key(model, columns, may_be_null) -%}
    {#- MySQL finds a view's expressions in `having` only where they are selected as well. -#}
    select coalesce(sum(row_count), 0)
    from (
        select {{ sorted_groups_of(model, columns) }} {{ columns | join(', ') }}, count(*) as row_count
        from {{ tested_rows(model) }}
        group by {{ columns | join(', ') }}
        having count(*) > 1{% if not may_be_null %}{% for column in columns %} or {{ column }} is null{% endfor %}{% endif %}
    ) as same_key
{%- endmacro %}
