{#
    One build at a time. On DuckDB the file's own lock sees to that. On a server dbt opens a session for every node, so no
    lock lasts as long as a build: a row of build_claim names the build, and each of its nodes holds a lock while it works.
    A build that is named there, and of which no lock is seen for three seconds, was killed.
#}
{% macro claim_build() %}{{ return(adapter.dispatch('claim_build')()) }}{% endmacro %}
{% macro default__claim_build() %}{% endmacro %}
{% macro mysql__claim_build() %}
    {% if execute and flags.WHICH in ['run', 'build'] %}
        {% set seconds, looks, state = var('build_wait_seconds'), 5, {'quiet': 0} %}
        {# Nodes look at the claim from here on, also when it is refused: dbt goes on after a hook that failed. #}
        {% do graph.update({'claimed_by': invocation_id, 'build_lock': build_lock()}) %}
        {% do run_query(
            'create table if not exists ' ~ build_claim()
            ~ ' (place int primary key, build_id varchar(64) not null, begun_at datetime not null) engine = InnoDB'
        ) %}
        {% do run_query("select get_lock('" ~ graph['build_lock'] ~ "', " ~ seconds ~ ')') %}
        {% for _ in range(seconds * looks) if state.quiet < 3 * looks %}
            {% set others = run_query(
                'select coalesce(' ~ build_locks(64, 'is_used_lock') ~ ', 0) as connection from ' ~ build_claim()
                ~ " where build_id <> '" ~ invocation_id ~ "'"
            ) %}
            {% do state.update(quiet=3 * looks if not others else 0 if others[0][0] else state.quiet + 1) %}
            {% if state.quiet < 3 * looks %}{% do run_query('select sleep(' ~ 1 / looks ~ ')') %}{% endif %}
        {% endfor %}
        {% if state.quiet < 3 * looks %}{% do refuse_second_build() %}{% endif %}
        {% do run_query('replace into ' ~ build_claim() ~ " values (1, '" ~ invocation_id ~ "', utc_timestamp())") %}
        {% do run_query('commit') %}
        {% do run_query("select release_lock('" ~ graph['build_lock'] ~ "')") %}
    {% endif %}
{% endmacro %}

{# In the session of each node: takes a lock that is free, and sees that no other build has begun. #}
{% macro mysql_hold_build() %}
    {% if execute and graph.get('claimed_by') == invocation_id %}
        {% set claim = run_query(
            'select build_id, case ' ~ build_locks(target.threads, 'when 1 = get_lock', ', 0', ' then 1 ') ~ ' then 1 end as slot from '
            ~ build_claim()
        ) %}
        {% if not claim or claim[0][0] != invocation_id %}{% do refuse_second_build() %}{% endif %}
    {% endif %}
{% endmacro %}

{% macro release_build() %}{{ return(adapter.dispatch('release_build')()) }}{% endmacro %}
{% macro default__release_build() %}{% endmacro %}
{% macro mysql__release_build() %}
    {% if execute and flags.WHICH in ['run', 'build'] %}
        {% do run_query('delete from ' ~ build_claim() ~ " where build_id = '" ~ invocation_id ~ "'") %}
        {% do run_query('commit') %}
    {% endif %}
{% endmacro %}

{% macro refuse_second_build() %}
    {% set found = run_query(
        'select begun_at, coalesce(' ~ build_locks(64, 'nullif(is_used_lock', '), connection_id()') ~ ") as connection from " ~ build_claim()
    ) %}
    {% set whose = ', begun at ' ~ found[0][0] ~ ' UTC (connection ' ~ found[0][1] ~ ')' if found else '' %}
    {% do exceptions.raise_compiler_error('Another dbt build is at work on this server' ~ whose ~ ': wait for it, then run again') %}
{% endmacro %}

{% macro build_claim() %}{{ return(api.Relation.create(schema=target.schema, identifier='build_claim')) }}{% endmacro %}

{# Any user of a server can take a lock whose name they know: its end is a secret that readers of the marts cannot read. #}
{% macro build_lock() %}
    {% set locks, secret = api.Relation.create(schema=target.schema, identifier='run_locks'), [] %}
    {% for _ in range(32) %}{% do secret.append('0123456789abcdef' | random) %}{% endfor %}
    {% do run_query(
        'create table if not exists ' ~ locks ~ ' (lock_name varchar(64) primary key, secret char(32) not null) engine = InnoDB'
    ) %}
    {% do run_query('insert ignore into ' ~ locks ~ " values ('funnelift.build', '" ~ secret | join ~ "')") %}
    {% do run_query('commit') %}
    {{ return('funnelift.build.' ~ run_query('select secret from ' ~ locks ~ " where lock_name = 'funnelift.build'")[0][0]) }}
{% endmacro %}

{# A call with each lock's name, such as is_used_lock('funnelift.build.SECRET.1'). #}
{% macro build_locks(count, call, arguments='', separator=', ') %}
    {%- set calls = [] -%}
    {%- for slot in range(1, count + 1) -%}{%- do calls.append(call ~ "('" ~ graph['build_lock'] ~ '.' ~ slot ~ "'" ~ arguments ~ ')') -%}{%- endfor -%}
    {{ return(calls | join(separator)) }}
{% endmacro %}
