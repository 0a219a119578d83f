{#
    What the next build does. Everything anew where the rows of another build could not stand beside the new ones; else what
    has changed alone, and with it what an interrupted build of that kind had still to do.
#}
{% macro next_build_plan(loads) %}
    {%- set settings, code, reasons = row_settings(), models_md5(), [] -%}
    {%- set now = modules.datetime.datetime.now(modules.pytz.utc).timestamp() -%}
    {%- set plan = dict(number=1, is_full=1, is_continued=0, has_event_ids=0, has_refunds=0, reason='', settings=settings | tojson, code=code, started_ms=(now * 1000) | int) -%}
    {%- if not execute -%}{{ return(plan) }}{%- endif -%}
    {%- set before, last, names = built_row('build_plan'), built_row('last_build'), columns_of(existing_source('raw_events')) -%}
    {%- do plan.update(kinds_of_lines(names)) -%}
    {%- if before -%}{%- do plan.update(number=before['build_number'] + 1) -%}{%- endif -%}

    {%- if flags.FULL_REFRESH -%}
        {%- do reasons.append('--full-refresh') -%}
    {%- elif not before or not last -%}
        {%- do reasons.append('no earlier build') -%}
    {%- else -%}
        {%- set is_finished = before['build_id'] == last['build_id'] -%}
        {%- do plan.update(is_continued=0 if is_finished else 1) -%}
        {%- if not is_finished and before['is_full'] == 1 -%}
            {%- do reasons.append('the last full build was interrupted') -%}
        {%- endif -%}
        {%- set changed = changed_settings(fromjson(before['settings_json']), settings) -%}
        {%- if changed -%}{%- do reasons.append('changed: ' ~ changed | join(', ')) -%}{%- endif -%}
        {%- if before['code_md5'] != code -%}{%- do reasons.append('the models changed') -%}{%- endif -%}
        {%- do reasons.extend(loads_for_full_build(loads)) -%}
    {%- endif -%}
    {%- if not reasons and not writes_touched_rows() -%}{%- do reasons.append('always on ' ~ target.type) -%}{%- endif -%}
    {%- do plan.update(is_full=1 if reasons else 0, reason=(reasons | join('; '))[:128]) -%}
    {%- if plan.is_full -%}{%- do plan.update(is_continued=0) -%}{%- endif -%}
    {% if flags.WHICH in ['run', 'build'] %}
        {% do log('Build ' ~ plan.number ~ ': ' ~ ('everything anew (' ~ plan.reason ~ ')' if plan.is_full
            else 'what has changed' ~ (', with what an interrupted build left to do' if plan.is_continued else '')), info=true) %}
    {% endif %}
    {{ return(plan) }}
{% endmacro %}

{# Whether the engine can change rows of a table, so that a build may write what has changed alone. #}
{% macro writes_touched_rows() %}{{ return(adapter.dispatch('writes_touched_rows')()) }}{% endmacro %}
{% macro default__writes_touched_rows() %}{{ return(true) }}{% endmacro %}
{% macro spark__writes_touched_rows() %}{{ return(false) }}{% endmacro %}

{#
    Which of two rare kinds of raw lines there are: those with an id of their own, and those that take a purchase back. Most
    shops have neither, and one look at the lines says so.
    names: the columns of the raw events
#}
{% macro kinds_of_lines(names) %}
    {%- set kinds = {'has_event_ids': 'event_id is not null', 'has_refunds': refund_flag() ~ ' = 1'} -%}
    {%- set columns = {'event': to_short_text, 'event_id': to_short_text, 'price': to_money, 'quantity': to_money} -%}
    {%- set found, any = dict(has_event_ids=0, has_refunds=0), kinds.values() | join(' or ') -%}
    {%- for name in ['raw_events', 'raw_kept_events'] -%}
        {%- set lines = 'select 1 as found from ' ~ optional_source(name, columns) ~ ' as raw_lines where ' -%}
        {%- if run_query(lines ~ any ~ ' limit 1') | length > 0 -%}
            {%- for kind, condition in kinds.items() if run_query(lines ~ condition ~ ' limit 1') | length > 0 -%}
                {%- do found.update({kind: 1}) -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}

{# Why the loads ask for a full build, if they do. #}
{% macro loads_for_full_build(loads) %}
    {%- set reasons = [] -%}
    {%- if 'load_number' not in columns_of(existing_source('raw_events')) -%}
        {{ return([var('raw_events_table') ~ ' has no load_number']) }}
    {%- endif -%}
    {%- set counts = run_query(
        "select count(*) as loads, coalesce(sum(case when raw_table = 'raw_events' and is_new = 0 and is_withdrawn = 0 then accepted_count end), 0) as known, "
        ~ "coalesce(sum(case when raw_table = 'raw_events' and is_new + is_withdrawn > 0 then accepted_count end), 0) as moved, "
        ~ "coalesce(sum(case when raw_table = 'raw_category_tree' and is_new + is_withdrawn > 0 then 1 end), 0) as trees, "
        ~ "coalesce(sum(case when raw_table = 'raw_item_properties' and is_withdrawn = 1 then 1 end), 0) as properties from " ~ loads
    )[0] -%}
    {%- if counts['loads'] == 0 -%}{%- do reasons.append('no loads are recorded') -%}{%- endif -%}
    {%- if counts['trees'] > 0 -%}{%- do reasons.append('a new category tree') -%}{%- endif -%}
    {%- if counts['properties'] > 0 -%}{%- do reasons.append('item properties were withdrawn') -%}{%- endif -%}
    {#- A server's sums are decimals, with which no float multiplies. -#}
    {%- set known, moved = counts['known'] | int, counts['moved'] | int -%}
    {%- if moved > var('full_build_share') * (known + moved) -%}
        {%- do reasons.append('much is new') -%}
    {%- endif -%}
    {{ return(reasons) }}
{% endmacro %}

{# The settings on which rows depend: rows of two values must never stand beside each other. #}
{% macro row_settings() %}
    {%- set settings = {} -%}
    {%- for name in [
        'raw_schema', 'raw_events_table', 'raw_item_properties_table', 'raw_category_tree_table',
        'raw_treatment_assignments_table', 'raw_loads_table', 'session_timeout_seconds', 'conversion_window_seconds',
        'shop_utc_offset_minutes', 'shop_time_zone', 'funnel_steps', 'decision_points', 'price_property', 'category_property',
        'availability_property', 'category_max_depth', 'smoothing_weight', 'prior_cart_rate', 'prior_purchase_rate',
        'prior_conversion_rate', 'exclude_bots', 'bot_visitor_events', 'bot_poll_views', 'bot_pace_events',
        'bot_pace_mean_gap_seconds',
    ] -%}{%- do settings.update({name: var(name)}) -%}{%- endfor -%}
    {{ return(settings) }}
{% endmacro %}

{% macro changed_settings(before, now) %}
    {%- set names = [] -%}
    {%- for name in (before.keys() | list + now.keys() | list) | unique | sort if before.get(name) != now.get(name) -%}
        {%- do names.append(name) -%}
    {%- endfor -%}
    {{ return(names) }}
{% endmacro %}

{# One word for the text of all models. #}
{% macro models_md5() %}
    {%- set texts = [] -%}
    {%- for node in (graph.nodes.values() if execute else []) | sort(attribute='unique_id') if node.resource_type == 'model' -%}
        {%- do texts.append(node.name ~ node.checksum.checksum) -%}
    {%- endfor -%}
    {{ return(local_md5(texts | join(' '))) }}
{% endmacro %}
