-- The last build that ran to its end: the marts belong together where this is also the build of build_plan.
-- depends_on: {{ ref('built_loads') }}
-- depends_on: {{ ref('build_plan') }}
{%- set before = built('last_build') %}
{%- if is_whole_build() or before is none %}
select
    build_id,
    build_number,
    is_full,
    reason,
    started_at,
    {{ ms_to_timestamp((modules.datetime.datetime.now(modules.pytz.utc).timestamp() * 1000) | int) }} as finished_at
from {{ ref('build_plan') }}
{%- if not is_whole_build() %}
where 1 = 0
{%- endif %}
{%- else %}
select * from {{ before }}
{%- endif %}
