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
                'No table ' ~ wanted ~ ' in this warehouse (' ~ (target.path or target.server) ~ '), so there is nothing to build. Load your files with '
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
