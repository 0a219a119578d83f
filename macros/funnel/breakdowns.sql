{#
    Breakdowns: {name: expression that gives a row its value}. Rows that are cross joined with breakdown_names stand there
    once for each breakdown, and breakdown_value gives the value in it.
#}
{% macro breakdown_names(breakdowns) -%}
    (
        {%- for breakdown in breakdowns %}
        select '{{ breakdown }}' as breakdown
        {%- if not loop.last %}
        union all
        {%- endif %}
        {%- endfor %}
    ) as breakdowns
{%- endmacro %}

{% macro breakdown_value(breakdowns) -%}
    case breakdowns.breakdown
        {%- for breakdown, expression in breakdowns.items() %}
        when '{{ breakdown }}' then {{ expression }}
        {%- endfor %}
    end
{%- endmacro %}

{# The middle of a column, or the mean of the two middle ones, for each group: not every engine has a median. #}
{% macro medians(relation, column, by) -%}
    select
        {{ by | join(',\n        ') }},
        avg({{ column }}) as median_{{ column }}
    from (
        select
            {{ by | join(',\n            ') }},
            {{ column }},
            row_number() over (partition by {{ by | join(', ') }} order by {{ column }}) as place,
            count(*) over (partition by {{ by | join(', ') }}) as places
        from {{ relation }}
        where {{ column }} is not null
    ) as ranked
    where 2 * place between places and places + 2
    group by {{ by | join(', ') }}
{%- endmacro %}
