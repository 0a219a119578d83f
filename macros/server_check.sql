{# Refuses a server that cannot give the same rows; engines without a server have nothing to check. #}
{% macro server_check() %}{{ return(adapter.dispatch('server_check')()) }}{% endmacro %}
{% macro default__server_check() %}{% endmacro %}

{% macro mysql__server_check() %}
    {% set version = run_query('select version()')[0][0] %}
    {% set is_mariadb = 'mariadb' in version | lower %}
    {% set parts = modules.re.findall('[0-9]+', version) | map('int') | list %}
    {% set oldest = [10, 6, 0] if is_mariadb else [8, 0, 17] %}
    {% if parts[:3] < oldest %}
        {% do exceptions.raise_compiler_error(
            'The server is ' ~ version ~ ', too old: Funnelift needs MariaDB 10.6 or MySQL 8.0.17, or newer'
        ) %}
    {% endif %}
    {% for database in run_query(
        'select schema_name, default_character_set_name from information_schema.schemata where schema_name in ('
        ~ mysql_text(target.schema, 64) ~ ', ' ~ mysql_text(var('raw_schema'), 64) ~ ')'
    ) if database[1] != 'utf8mb4' %}
        {% do exceptions.raise_compiler_error(
            'Database ' ~ database[0] ~ ' has the character set ' ~ database[1] ~ ', which cannot hold every id. Run: alter database '
            ~ database[0] ~ ' character set utf8mb4 collate ' ~ ('utf8mb4_nopad_bin' if is_mariadb else 'utf8mb4_0900_bin')
        ) %}
    {% endfor %}
{% endmacro %}

{# Says at the end of a build, in one line, which settings of the server would make the next one faster, if any. #}
{% macro server_advice(least_bytes=134217728) %}{{ return(adapter.dispatch('server_advice')(least_bytes)) }}{% endmacro %}
{% macro default__server_advice(least_bytes) %}{% endmacro %}

{# least_bytes: a warehouse below this size is built in seconds anyway #}
{% macro mysql__server_advice(least_bytes) %}
    {%- if not execute or flags.WHICH not in ['build', 'run', 'run-operation'] -%}{{ return('') }}{%- endif -%}
    {%- set server = run_query(
        'select @@innodb_buffer_pool_size as pool, @@innodb_flush_log_at_trx_commit as flushing, @@log_bin as has_log, '
        ~ '(select coalesce(sum(data_length + index_length), 0) from information_schema.tables where table_schema in ('
        ~ mysql_text(target.schema, 64) ~ ', ' ~ mysql_text(var('raw_schema'), 64) ~ ')) as bytes'
    )[0] -%}
    {%- set advice, pool, bytes = [], server['pool'] | int, server['bytes'] | int -%}
    {%- if pool < [bytes, 1073741824] | min -%}
        {%- do advice.append(
            'innodb_buffer_pool_size from 1G (' ~ (pool / 1048576) | int ~ ' MB now, the tables have ' ~ (bytes / 1048576) | int ~ ')'
        ) -%}
    {%- endif -%}
    {%- if server['flushing'] | int == 1 -%}{%- do advice.append('innodb_flush_log_at_trx_commit = 2') -%}{%- endif -%}
    {%- if server['has_log'] | int == 1 -%}{%- do advice.append('skip_log_bin') -%}{%- endif -%}
    {%- if advice and bytes >= least_bytes -%}
        {% do log('What would make builds faster on this server (docs/mysql.md): ' ~ advice | join('; '), info=true) %}
    {%- endif -%}
{% endmacro %}
