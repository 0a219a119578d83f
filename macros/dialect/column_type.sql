{# A data type of the models' yml as the engine calls it; the yml takes its names from standard SQL. #}
{% macro column_type(data_type) %}{{ return(adapter.dispatch('column_type')(data_type)) }}{% endmacro %}
{% macro default__column_type(data_type) %}{{ return(data_type) }}{% endmacro %}
{% macro mysql__column_type(data_type) -%}
    {{ return({'text': 'mediumtext', 'timestamp': 'datetime(6)'}.get(data_type, data_type)) }}
{%- endmacro %}
{% macro spark__column_type(data_type) -%}
    {%- set is_text = data_type == 'text' or data_type.startswith('varchar') -%}
    {{ return('string' if is_text else data_type) }}
{%- endmacro %}
