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
