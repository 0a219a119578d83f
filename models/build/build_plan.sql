{{ config(post_hook="{{ keep_row() }}") }}
-- What this build does, decided once and before all else: everything anew, or what has changed alone.
-- depends_on: {{ ref('build_loads') }}
{{ raw_events_check() }}
{%- set plan = next_build_plan(ref('build_loads')) %}
select
    {{ to_short_text("'" ~ invocation_id ~ "'") }} as build_id,
    {{ to_bigint(plan.number) }} as build_number,
    {{ plan.is_full }} as is_full,
    {{ plan.is_continued }} as is_continued,
    {{ plan.has_event_ids }} as has_event_ids,
    {{ plan.has_refunds }} as has_refunds,
    {{ to_short_text("'" ~ plan.reason ~ "'") }} as reason,
    {{ to_text(dbt.string_literal(dbt.escape_single_quotes(plan.settings))) }} as settings_json,
    {{ to_short_text("'" ~ plan.code ~ "'") }} as code_md5,
    {{ ms_to_timestamp(plan.started_ms) }} as started_at
