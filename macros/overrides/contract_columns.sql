{# Refuses a query that gives other columns than the model's contract names. #}
{% macro check_contract_columns(given) -%}
    {%- set promised = model['columns'].keys() | map('lower') | list -%}
    {%- if given | sort != promised | sort -%}
        {% do exceptions.raise_compiler_error(
            model.name ~ ': the contract names the columns ' ~ promised | sort | join(', ') ~ '; the query gives '
            ~ given | sort | join(', ')
        ) %}
    {%- endif -%}
{%- endmacro %}
