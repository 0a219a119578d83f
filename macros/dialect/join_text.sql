{# Several text expressions as one. #}
{% macro join_text(parts) %}{{ return(adapter.dispatch('join_text')(parts)) }}{% endmacro %}

{% macro default__join_text(parts) %}concat({{ parts | join(', ') }}){% endmacro %}
