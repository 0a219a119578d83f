{#
    dbt's cross-database functions as MySQL and MariaDB have to say them, so that they give what they give on DuckDB.
    dbt-mysql leaves them at dbt's defaults: concat as || (which is OR there, and silently 0), the rest as functions that
    neither server has.
#}
{% macro mysql__concat(fields) %}concat({{ fields | join(', ') }}){% endmacro %}

{# A backslash stands for itself, as elsewhere; quotes are for escape_single_quotes. #}
{% macro mysql__string_literal(value) -%}
    '{{ value | replace("\\", "\\\\") }}'
{%- endmacro %}

{# Characters, not bytes. #}
{% macro mysql__length(expression) %}char_length({{ expression }}){% endmacro %}

{% macro mysql__dateadd(datepart, interval, from_date_or_timestamp) -%}
    {%- set amount = '(' ~ interval ~ ')' -%}
    {%- if datepart | lower == 'millisecond' -%}
        {%- set amount, datepart = amount ~ ' * 1000', 'microsecond' -%}
    {%- endif -%}
    cast(date_add(cast({{ from_date_or_timestamp }} as datetime(3)), interval {{ amount }} {{ datepart }}) as datetime(3))
{%- endmacro %}

{# Boundaries crossed: one minute past midnight is a day after one minute before it. Weeks are seven days, as on DuckDB. #}
{% macro mysql__datediff(first_date, second_date, datepart) -%}
    {%- set part = datepart | lower -%}
    {%- if part == 'week' -%}
        (datediff({{ second_date }}, {{ first_date }}) div 7)
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

{% macro mysql__snapshot_hash_arguments(args) -%}
    sha2(concat_ws('|'{% for arg in args %}, coalesce(cast({{ arg }} as char), ''){% endfor %}), 256)
{%- endmacro %}

{#
    Null where the text does not read as the type: a cast would give 0 in a query on MySQL, an error in a table, an error
    on DuckDB. A text reads as a number or a time if it is plainly written, blanks around it aside.
#}
{% macro mysql__safe_cast(field, type) -%}
    {%- set pattern, text = safe_cast_pattern(type), 'trim(cast(' ~ field ~ ' as char))' -%}
    {%- set digits = modules.re.findall('[0-9]+', type) -%}
    {%- if pattern is none -%}
        cast({{ field }} as {{ type }})
    {%- else -%}
        case
            when
                {{ text }} regexp '^({{ pattern }})\\z'
                {%- if type | lower in ['date', mysql__type_timestamp()] %}
                and substr({{ text }}, 9, 2) <= day(last_day(concat(left({{ text }}, 7), '-01')))
                {%- elif digits %}
                and abs(cast({{ text }} as double)) < 1e{{ digits[0] | int - (digits[1] | default(0) | int) }}
                {%- endif %}
                then cast({{ text }} as {{ type }})
        end
    {%- endif -%}
{%- endmacro %}

{% macro duckdb__safe_cast(field, type) -%}
    {%- set pattern, text = safe_cast_pattern(type), 'trim(cast(' ~ field ~ " as varchar), ' ')" -%}
    {%- if pattern is none -%}
        try_cast({{ field }} as {{ type }})
    {%- else -%}
        case when regexp_full_match({{ text }}, '{{ pattern }}') then try_cast({{ text }} as {{ type }}) end
    {%- endif -%}
{%- endmacro %}

{% macro safe_cast_pattern(type) -%}
    {%- set target = type | lower -%}
    {%- if 'int' in target or target == 'signed' -%}
        {{ return('[+-]?[0-9]{1,18}') }}
    {%- elif target.startswith('date') or target.startswith('timestamp') -%}
        {{ return(
            '[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])([ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?)?'
        ) }}
    {%- elif target.split('(')[0] in ['decimal', 'numeric', 'double', 'float', 'real', 'double precision'] -%}
        {{ return('[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?') }}
    {%- endif -%}
    {{ return(none) }}
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
            then substring_index(substring_index({{ string_text }}, {{ delimiter_text }}, {{ part_number }}), {{ delimiter_text }}, 1) end
    {%- else -%}
        case when {{ count }} >= {{ part_number }}
            then substring_index(substring_index({{ string_text }}, {{ delimiter_text }}, {{ part_number }}), {{ delimiter_text }}, -1) end
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
{% macro duckdb__type_float() %}double{% endmacro %}
{% macro mysql__type_numeric() %}decimal(28, 6){% endmacro %}
{% macro mysql__type_bigint() %}signed{% endmacro %}
{% macro mysql__type_int() %}signed{% endmacro %}
{% macro mysql__type_boolean() %}signed{% endmacro %}
