{# A source that is not there cannot be late: a shop whose events were in the warehouse already has no raw_loads. #}
{% macro default__collect_freshness(source, loaded_at_field, filter) %}
    {%- set is_there = found_source(source) is not none -%}
    {% call statement('collect_freshness', fetch_result=True, auto_begin=False) -%}
        select
            {{ 'max(' ~ loaded_at_field ~ ')' if is_there else current_timestamp() }} as max_loaded_at,
            {{ current_timestamp() }} as snapshotted_at
        {%- if is_there %}
        from {{ source }}
        {%- if filter %}
        where {{ filter }}
        {%- endif %}
        {%- endif %}
    {%- endcall %}
    {{ return(load_result('collect_freshness')) }}
{% endmacro %}

{# The session's time zone must be that of the tables. #}
{% macro mysql__collect_freshness(source, loaded_at_field, filter) %}
    {% do mysql_session() %}
    {{ return(default__collect_freshness(source, loaded_at_field, filter)) }}
{% endmacro %}
