{# Refuses bad settings before any model runs: every fault found is named at once. #}
{% macro config_check() %}
    {% set faults, known = [], [
        'shop_time_zone', 'exclude_bots', 'cut_category_branches', 'funnel_steps', 'decision_points',
    ] %}

    {% for name, lowest, highest in [
        ('session_timeout_seconds', 1, 604800), ('conversion_window_seconds', 1, 31536000),
        ('shop_utc_offset_minutes', -720, 840), ('category_max_depth', 1, 30), ('smoothing_weight', 1, 1000000),
        ('build_wait_seconds', 5, 86400), ('clock_tolerance_seconds', 0, 86400), ('clock_gap_days', 1, 36500),
        ('bot_visitor_events', 2, 1000000000), ('bot_poll_views', 2, 1000000000), ('bot_pace_events', 2, 1000000000),
    ] %}
        {% do known.append(name) %}
        {% set value = var(name) %}
        {% if value is not number or value is boolean or value is float %}
            {% do faults.append(name ~ ' must be a whole number, not ' ~ value | tojson) %}
        {% elif value < lowest or value > highest %}
            {% do faults.append(name ~ ' must be between ' ~ lowest ~ ' and ' ~ highest ~ ', not ' ~ value) %}
        {% endif %}
    {% endfor %}

    {% set zone = var('shop_time_zone') %}
    {% do faults.extend(time_zone_faults(zone)) %}
    {% if zone and var('shop_utc_offset_minutes') != 0 %}
        {% do faults.append('shop_time_zone and shop_utc_offset_minutes are both set; the zone knows its offsets: set one') %}
    {% endif %}

    {# Not a number (.nan) is neither below the lowest nor above the highest. #}
    {% for name, lowest, highest in [
        ('prior_cart_rate', 0, 1), ('prior_purchase_rate', 0, 1), ('prior_conversion_rate', 0, 1), ('full_build_share', 0, 1),
        ('clock_straggler_share', 0, 0.1), ('bot_pace_mean_gap_seconds', 0, 604800),
    ] %}
        {% do known.append(name) %}
        {% set value = var(name) %}
        {% if value is not number or value is boolean or not (value >= lowest and value <= highest) %}
            {% do faults.append(name ~ ' must be a number from ' ~ lowest ~ ' to ' ~ highest ~ ', not ' ~ value | tojson) %}
        {% endif %}
    {% endfor %}

    {% for name in ['exclude_bots', 'cut_category_branches'] if var(name) is not boolean %}
        {% do faults.append(name ~ ' must be true or false, not ' ~ var(name) | tojson) %}
    {% endfor %}

    {% for name in [
        'raw_schema', 'raw_events_table', 'raw_item_properties_table', 'raw_category_tree_table',
        'raw_treatment_assignments_table', 'raw_loads_table', 'price_property', 'category_property', 'availability_property',
        'eda_dataset',
    ] %}
        {% do known.append(name) %}
        {% if var(name) is not string or not modules.re.match('^[A-Za-z0-9_]+\\Z', var(name)) %}
            {% do faults.append(name ~ ' must be a name of letters, digits and underscores, not ' ~ var(name) | tojson) %}
        {% endif %}
    {% endfor %}

    {% set steps = var('funnel_steps') %}
    {% if steps is string or steps is not iterable %}
        {% do faults.append('funnel_steps must be a list of step names, not ' ~ steps | tojson) %}
        {% set steps = [] %}
    {% else %}
        {% for step in steps if step is not string or not modules.re.match('^[a-z][a-z0-9_]*\\Z', step) %}
            {% do faults.append('funnel_steps: ' ~ step | tojson ~ ' is not a name of small letters, digits and underscores') %}
        {% endfor %}
        {% for step in steps if step in ['event', 'cart', 'removefromcart', 'refund'] or (step | string).startswith('ordered_') %}
            {% do faults.append('funnel_steps: ' ~ step ~ ' is a name that is taken; call the step otherwise') %}
        {% endfor %}
        {% if steps | map('tojson') | unique | list | length != steps | length %}
            {% do faults.append('funnel_steps names a step twice: ' ~ steps | tojson) %}
        {% endif %}
        {% set required = [] %}
        {% for step in steps if step in ['view', 'addtocart', 'transaction'] %}{% do required.append(step) %}{% endfor %}
        {% if required != ['view', 'addtocart', 'transaction'] or steps[0] != 'view' or steps[-1] != 'transaction' %}
            {% do faults.append(
                'funnel_steps must start with view, end with transaction and hold addtocart between, not ' ~ steps | tojson
            ) %}
        {% endif %}
    {% endif %}

    {% set points = var('decision_points') %}
    {% set names = [] %}
    {% if points is string or points is mapping or points is not iterable or not points %}
        {% do faults.append('decision_points must be a list of {name, event_number} or {name, first_event}') %}
    {% else %}
        {% for point in points %}
            {% if point is not mapping or point.name is not string or not modules.re.match('^[a-z][a-z0-9_]*\\Z', point.name) %}
                {% do faults.append('decision_points: ' ~ point | tojson ~ ' needs a name of small letters, digits and underscores') %}
            {% elif (point.keys() | list | sort) not in [['event_number', 'name'], ['first_event', 'name']] %}
                {% do faults.append('decision_points: ' ~ point.name ~ ' needs exactly one of event_number and first_event') %}
            {% elif 'event_number' in point and (
                point.event_number is not number or point.event_number is boolean or point.event_number is float
                or point.event_number < 1
            ) %}
                {% do faults.append('decision_points: ' ~ point.name ~ ': event_number must be a whole number, 1 or more') %}
            {% elif 'first_event' in point and (point.first_event not in steps or point.first_event == 'transaction') %}
                {% do faults.append(
                    'decision_points: ' ~ point.name ~ ': first_event must be a funnel step before transaction, not '
                    ~ point.first_event | tojson
                ) %}
            {% endif %}
            {% if point is mapping and point.name is string %}{% do names.append(point.name) %}{% endif %}
        {% endfor %}
        {% if names | unique | list | length != names | length %}
            {% do faults.append('decision_points names a point twice: ' ~ names | tojson) %}
        {% endif %}
    {% endif %}

    {# dbt itself takes any name, and builds with the default of the one that was meant. #}
    {% for name in invocation_args_dict.vars if name not in known %}
        {% do faults.append(name ~ ' in --vars is no setting; there are ' ~ known | sort | join(', ')) %}
    {% endfor %}

    {% if faults %}
        {% do exceptions.raise_compiler_error(
            'Bad settings (vars in dbt_project.yml or --vars); nothing was built:\n  - ' ~ faults | join('\n  - ')
        ) %}
    {% endif %}
{% endmacro %}
