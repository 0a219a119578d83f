{#
    A test's arguments stand under the key `arguments:`, which dbt has known since 1.10. Earlier versions pass that key on
    as an argument of this name, so each generic test takes both: dbt's own two with arguments here, ours in their files.
#}
{% test accepted_values(model, column_name, values=none, quote=true, arguments={}) %}
{{ adapter.dispatch('test_accepted_values', 'dbt')(
    model, column_name, arguments.get('values', values), arguments.get('quote', quote)
) }}
{% endtest %}

{% test relationships(model, column_name, to=none, field=none, arguments={}) %}
{{ adapter.dispatch('test_relationships', 'dbt')(
    model, column_name, arguments.get('to', to), arguments.get('field', field)
) }}
{% endtest %}
