{# Local day, hour and weekday by whole-number arithmetic on epoch milliseconds: the same on every engine. #}
{% macro local_ms(ms) -%}
    {%- if var('shop_time_zone') -%}
        ({{ ms }} + {{ zone_offset_ms(ms, zone_offsets(var('shop_time_zone')) if execute else [(0, 0)]) }})
    {%- else -%}
        ({{ ms }} + {{ var('shop_utc_offset_minutes') }} * 60000)
    {%- endif -%}
{%- endmacro %}

{% macro local_day_number(ms) %}{{ integer_divide(local_ms(ms), 86400000) }}{% endmacro %}

{% macro local_hour(ms) %}{{ integer_divide(local_ms(ms) ~ ' % 86400000', 3600000) }}{% endmacro %}

{# 1 = Monday to 7 = Sunday; 1970-01-01 was a Thursday. #}
{% macro weekday(day_number) %}((({{ day_number }}) + 3) % 7 + 1){% endmacro %}
