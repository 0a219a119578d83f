{# Quotient of two numbers as a double; null where the divisor is null or 0. #}
{% macro ratio(dividend, divisor) -%}
    {{ to_double(dividend) }} / nullif({{ to_double(divisor) }}, 0)
{%- endmacro %}

{# Rate pulled towards a constant prior: (successes + weight * prior) / (trials + weight). #}
{% macro smoothed_rate(successes, trials, prior) -%}
    ({{ to_double(successes) }} + {{ to_double("'" ~ var('smoothing_weight') * prior ~ "'") }})
    / ({{ to_double(trials) }} + {{ to_double(var('smoothing_weight')) }})
{%- endmacro %}
