{#
    Ids of the events as whole numbers, given once: ids that come later get later numbers.
    key: the number's column; id: the id's, as stg_events and int_changed_events have it
#}
{% macro numbered_ids(key, id) -%}
{%- set all_ids, changed_ids = ref('stg_events'), ref('int_changed_events') -%}
with ids as (

    {% if is_touched_build() -%}
    select changes.{{ id }}
    from {{ changed_ids }} as changes
    left join {{ this }} as known on changes.{{ id }} = known.{{ id }}
    where known.{{ id }} is null
    {%- else -%}
    select {{ id }} from {{ all_ids }}
    {%- endif %}

)

{{- numbered_once('ids', key, id) }}
{%- endmacro %}
