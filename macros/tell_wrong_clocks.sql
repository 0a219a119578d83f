{# Warns, after a build of dataset_summary, of events whose time is implausible: how many there are, and one as an example. #}
{% macro tell_wrong_clocks(summary) %}
    {% if execute %}
        {% set found = run_query(
            'select implausible_event_count, first_plausible_at, last_plausible_at, implausible_visitor_id, '
            ~ 'implausible_event_at from ' ~ summary ~ ' where implausible_event_count > 0'
        ) %}
        {% for row in found %}
            {% set example = ', such as one of visitor ' ~ row[3] ~ ' at ' ~ row[4] if row[3] is not none else '' %}
            {% set events = row[0] ~ (' event has' if row[0] == 1 else ' events have') %}
            {% do exceptions.warn(
                'Wrong clocks: ' ~ events ~ ' an implausible time, before ' ~ row[1] ~ ' or after ' ~ row[2] ~ example
                ~ '. They stay in all tables, but close no session and train no model: see docs/loading.md.'
            ) %}
        {% endfor %}
    {% endif %}
{% endmacro %}
