{#
    The line of each event id that was sent last, of all visitors, be it an event or a refund; of the ids that a relation
    or a CTE has.
#}
{% macro last_sent(among) -%}
    select
        event_id,
        max(place) as place
    from (
        select
            event_id,
            place
        from {{ ref('stg_events') }}
        {%- if has_refunds() %}
        union all
        select
            event_id,
            place
        from {{ ref('stg_refunds') }}
        {%- endif %}
    ) as named
    where event_id in (select wanted.event_id from {{ among }} as wanted)
    group by event_id
{%- endmacro %}
