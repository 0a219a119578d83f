{#
    dbt's cross-database functions as MySQL and MariaDB have to say them, so that they give what they give on DuckDB.
    dbt-mysql leaves them at dbt's defaults: concat as || (which is OR there, and silently 0), the rest as functions that
    neither server has.
#}
{% macro mysql__concat(fields) %}concat({{ fields | join(', ') }}){% endmacro %}

{% macro mysql__dateadd(datepart, interval, from_date_or_timestamp) -%}
    {%- if datepart | lower == 'millisecond' -%}
        date_add({{ from_date_or_timestamp }}, interval ({{ interval }}) * 1000 microsecond)
    {%- else -%}
        date_add({{ from_date_or_timestamp }}, interval {{ interval }} {{ datepart }})
    {%- endif -%}
{%- endmacro %}

{# Boundaries crossed, as elsewhere: one minute past midnight is a day after one minute before it. #}
{% macro mysql__datediff(first_date, second_date, datepart) -%}
    {%- set part = datepart | lower -%}
    {%- if part == 'week' -%}
        (datediff({{ date_trunc('week', second_date) }}, {{ date_trunc('week', first_date) }}) div 7)
    {%- elif part in ['year', 'quarter', 'month', 'day', 'hour', 'minute', 'second'] -%}
        timestampdiff({{ part }}, {{ date_trunc(part, first_date) }}, {{ date_trunc(part, second_date) }})
    {%- elif part == 'millisecond' -%}
        (timestampdiff(microsecond, cast({{ first_date }} as datetime(3)), cast({{ second_date }} as datetime(3))) div 1000)
    {%- else -%}
        {{ exceptions.raise_compiler_error('datediff: no ' ~ datepart ~ ' on MySQL') }}
    {%- endif -%}
{%- endmacro %}

{% macro mysql__date_trunc(datepart, date) -%}
    {%- set part = datepart | lower -%}
    {%- set day = 'cast(' ~ date ~ ' as date)' -%}
    {%- set starts = {
        'second': "date_format(" ~ date ~ ", '%Y-%m-%d %H:%i:%s')",
        'minute': "date_format(" ~ date ~ ", '%Y-%m-%d %H:%i:00')",
        'hour': "date_format(" ~ date ~ ", '%Y-%m-%d %H:00:00')",
        'day': day,
        'week': day ~ ' - interval weekday(' ~ date ~ ') day',
        'month': "date_format(" ~ date ~ ", '%Y-%m-01')",
        'quarter': 'makedate(year(' ~ date ~ '), 1) + interval quarter(' ~ date ~ ') - 1 quarter',
        'year': 'makedate(year(' ~ date ~ '), 1)',
    } -%}
    {%- if part not in starts -%}{{ exceptions.raise_compiler_error('date_trunc: no ' ~ datepart ~ ' on MySQL') }}{%- endif -%}
    cast({{ starts[part] }} as datetime(3))
{%- endmacro %}

{# MySQL 9.7 has no MD5 of its own; SHA-256 is the same on every engine. #}
{% macro mysql__hash(field) %}sha2(cast({{ field }} as char), 256){% endmacro %}
{% macro duckdb__hash(field) %}sha256(cast({{ field }} as varchar)){% endmacro %}

{# Null where the text does not read as the type: a cast would give 0 in a query and an error in a table. #}
{% macro mysql__safe_cast(field, type) -%}
    {%- set target = type | lower -%}
    {%- set text = 'trim(cast(' ~ field ~ ' as char))' -%}
    {%- if target.startswith('char') or target.startswith('varchar') or target in ['text', 'string'] -%}
        cast({{ field }} as char)
    {%- elif 'int' in target or target == 'signed' -%}
        case when {{ text }} regexp '^[+-]?[0-9]{1,18}$' then cast({{ text }} as signed) end
    {%- elif target.startswith('date') or target.startswith('timestamp') -%}
        case
            when
                {{ text }} regexp '^[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9]([ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?)?$'
                and substr({{ text }}, 9, 2) between '01' and day(last_day(concat(left({{ text }}, 7), '-01')))
                then cast({{ text }} as {{ 'date' if target == 'date' else 'datetime(3)' }})
        end
    {%- else -%}
        case
            when {{ text }} regexp '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?$'
                then cast({{ text }} as {{ 'double' if target in ['float', 'real', 'double precision'] else type }})
        end
    {%- endif -%}
{%- endmacro %}

{% macro mysql__last_day(date, datepart) -%}
    {%- if datepart | lower == 'month' -%}
        last_day({{ date }})
    {%- else -%}
        cast({{ dateadd('day', -1, dateadd(datepart, 1, date_trunc(datepart, date))) }} as date)
    {%- endif -%}
{%- endmacro %}

{% macro mysql__split_part(string_text, delimiter_text, part_number) -%}
    {%- set count = '(char_length(' ~ string_text ~ ') - char_length(replace(' ~ string_text ~ ', ' ~ delimiter_text ~ ", '')))"
        ~ ' div char_length(' ~ delimiter_text ~ ') + 1' -%}
    {%- if part_number < 0 -%}
        case when {{ count }} >= {{ -part_number }}
            then substring_index(substring_index({{ string_text }}, {{ delimiter_text }}, {{ part_number }}), {{ delimiter_text }}, 1)
            else '' end
    {%- else -%}
        case when {{ count }} >= {{ part_number }}
            then substring_index(substring_index({{ string_text }}, {{ delimiter_text }}, {{ part_number }}), {{ delimiter_text }}, -1)
            else '' end
    {%- endif -%}
{%- endmacro %}

{% macro mysql__listagg(measure, delimiter_text, order_by_clause, limit_num) -%}
    {%- set all = 'group_concat(' ~ measure ~ ' ' ~ (order_by_clause or '') ~ ' separator ' ~ delimiter_text ~ ')' -%}
    {%- if limit_num -%}substring_index({{ all }}, {{ delimiter_text }}, {{ limit_num }}){%- else -%}{{ all }}{%- endif -%}
{%- endmacro %}

{% macro mysql__bool_or(expression) %}max({{ expression }}){% endmacro %}
{# MariaDB has no any_value. #}
{% macro mysql__any_value(expression) %}min({{ expression }}){% endmacro %}

{# As CAST takes them, which is where they are used. #}
{% macro mysql__type_string() %}char{% endmacro %}
{% macro mysql__type_timestamp() %}datetime(3){% endmacro %}
{% macro mysql__type_float() %}double{% endmacro %}
{% macro mysql__type_numeric() %}decimal(28, 6){% endmacro %}
{% macro mysql__type_bigint() %}signed{% endmacro %}
{% macro mysql__type_int() %}signed{% endmacro %}
{% macro mysql__type_boolean() %}signed{% endmacro %}
