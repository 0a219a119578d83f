{#
    A time zone without the engine's help: the zone's offsets are found here, when a model is compiled, and go into the SQL as
    whole numbers. So no server needs time zone tables, and all engines have the same ones.
#}

{# What is wrong with the var shop_time_zone; nothing if it is blank or known. #}
{% macro time_zone_faults(name) %}
    {% set faults = [] %}
    {% if name is not string %}
        {% do faults.append('shop_time_zone must be the name of a time zone, such as Europe/Berlin, not ' ~ name | tojson) %}
    {% elif name and name not in modules.pytz.all_timezones_set %}
        {% do faults.append(
            'shop_time_zone: there is no time zone ' ~ name | tojson
            ~ '; give its IANA name, such as Europe/Berlin, or leave it blank and set shop_utc_offset_minutes'
        ) %}
    {% endif %}
    {{ return(faults) }}
{% endmacro %}

{#
    The zone's offsets in order, each with the moment from which it holds, in epoch milliseconds. The first holds before its
    moment too, the last for ever: the tables of pytz end with the year 2037.
#}
{% macro zone_offsets(name) %}
    {% for fault in time_zone_faults(name) %}{% do exceptions.raise_compiler_error(fault) %}{% endfor %}
    {% set zone = modules.pytz.timezone(name) %}
    {% set epoch, second = modules.datetime.datetime(1970, 1, 1), modules.datetime.timedelta(seconds=1) %}
    {# No zone has had an offset for less than six days since 1970. #}
    {% set step = 6 * 86400 %}
    {% set offsets = [(0, zone.fromutc(epoch).utcoffset())] %}
    {% for start in range(0, 68 * 366 * 86400, step) if zone.fromutc(epoch + second * (start + step)).utcoffset() != offsets[-1][1] %}
        {% set found = namespace(before=start, after=start + step) %}
        {% for halving in range(20) if found.after - found.before > 1 %}
            {% set middle = (found.before + found.after) // 2 %}
            {% if zone.fromutc(epoch + second * middle).utcoffset() == offsets[-1][1] %}
                {% set found.before = middle %}
            {% else %}
                {% set found.after = middle %}
            {% endif %}
        {% endfor %}
        {% do offsets.append((found.after * 1000, zone.fromutc(epoch + second * found.after).utcoffset())) %}
    {% endfor %}
    {% set in_ms = [] %}
    {% for start_ms, offset in offsets %}{% do in_ms.append((start_ms, (offset.total_seconds() * 1000) | int)) %}{% endfor %}
    {{ return(in_ms) }}
{% endmacro %}

{# The offset at a moment, by halving: at most eight comparisons for any zone. #}
{% macro zone_offset_ms(ms, offsets) -%}
    {%- if offsets | length == 1 -%}
        {{ offsets[0][1] }}
    {%- else -%}
        {%- set half = (offsets | length) // 2 -%}
        case when {{ ms }} < {{ offsets[half][0] }}
        {{- ' then ' ~ zone_offset_ms(ms, offsets[:half]) ~ ' else ' ~ zone_offset_ms(ms, offsets[half:]) }} end
    {%- endif -%}
{%- endmacro %}
