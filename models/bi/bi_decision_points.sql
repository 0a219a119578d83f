{{ config(materialized='table') }}
-- A table, because in a view a text that is written out has another collation on MariaDB than the keys it must match.
{%- for point in var('decision_points') %}
select
    {{ to_short_text("'" ~ point.name ~ "'") }} as decision_point,
    {%- if 'event_number' in point %}
    'After event {{ point.event_number }} of the session' as moment,
    {%- else %}
    'After the first {{ point.first_event }} of the session' as moment,
    {%- endif %}
    {{ to_integer(loop.index) }} as decision_point_number
{%- if not loop.last %}

union all
{% endif %}
{%- endfor %}
