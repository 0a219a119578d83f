{#
    The events must be there, with the columns that every model builds on. Called by int_events rather than on-run-start:
    dbt goes on after a hook that failed, but skips everything behind a model that did.
#}
{% macro raw_events_check() %}
    {% if execute and flags.WHICH in ['run', 'build'] %}
        {% do yml_check() %}
        {% do server_check() %}
        {% set wanted = var('raw_schema') ~ '.' ~ var('raw_events_table') %}
        {% set events = existing_source('raw_events') %}
        {% if events is none %}
            {% do exceptions.raise_compiler_error(
                'No table ' ~ wanted ~ ' in this warehouse (' ~ (target.path or target.server or target.host) ~ '), so there is nothing to build. Load your files with '
                ~ '`python -m ingest load --raw FOLDER`, or point the vars raw_schema and raw_events_table at a table '
                ~ 'that you have.'
            ) %}
        {% endif %}
        {% set present = columns_of(events) %}
        {% for name in ['timestamp', 'visitorid', 'event', 'itemid'] if name not in present %}
            {% do exceptions.raise_compiler_error(
                'Table ' ~ wanted ~ ' has no column ' ~ name ~ '; it has ' ~ present | join(', ') ~ '. The models need '
                ~ 'timestamp (epoch milliseconds), visitorid, event and itemid: see docs/loading.md.'
            ) %}
        {% endfor %}
        {% if 'load_number' not in present %}{% do raw_times_check(wanted, events) %}{% endif %}
    {% endif %}
{% endmacro %}

{#
    A shop's own table holds what `ingest load` would reject: times before 1990 or after 2100, as epoch seconds and
    microseconds are when they are read as milliseconds. A few are wrong clocks, which int_clock knows.
#}
{% macro raw_times_check(wanted, events) %}
    {% set oldest, newest = 631152000000, 4102444800000 %}
    {% set found = run_query(
        'select count(*) as events, sum(case when event_ms between ' ~ oldest ~ ' and ' ~ newest ~ ' then 0 else 1 end) as strange, '
        ~ 'min(event_ms) as first_ms, max(event_ms) as last_ms from (select ' ~ to_bigint(adapter.quote('timestamp'))
        ~ ' as event_ms from ' ~ events ~ ') as times'
    )[0] %}
    {% if (found['strange'] or 0) > found['events'] * var('clock_straggler_share') %}
        {% set middle = (found['first_ms'] or 0) | abs %}
        {% set unit = 'seconds' if 10 ** 8 < middle < 10 ** 10 else 'microseconds' if 10 ** 14 < middle < 10 ** 17 %}
        {% do exceptions.raise_compiler_error(
            'Table ' ~ wanted ~ ': ' ~ found['strange'] ~ ' of ' ~ found['events'] ~ ' events lie before 1990 or after 2100, '
            ~ 'from ' ~ found['first_ms'] ~ ' to ' ~ found['last_ms'] ~ '. The column timestamp must be epoch milliseconds'
            ~ ('; these look like ' ~ unit if unit else '') ~ '. Make a view that converts them, and point raw_events_table at it.'
        ) %}
    {% endif %}
{% endmacro %}

{#
    dbt 1.7 loses the yml of some models, and with it their keys, types and descriptions, where two yml files have changed
    since its last parse.
#}
{% macro yml_check() %}
    {% set lost = [] %}
    {% for node in graph.nodes.values() if node.resource_type == 'model' and not node.patch_path %}
        {% do lost.append(node.name) %}
    {% endfor %}
    {% if lost %}
        {% do exceptions.raise_compiler_error(
            'dbt lost the yml of ' ~ lost | join(', ') ~ ' in a partial parse. Run it once with --no-partial-parse'
        ) %}
    {% endif %}
{% endmacro %}
