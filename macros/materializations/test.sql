{#
    dbt's own test, except that a test of a table's rules names those that are broken, in dbt's output and in
    run_results.json: "Got 2 results" tells nobody where to look. A singular test that warns says its rows, a sentence each.
#}
{% materialization test, default %}
    {%- set relations = dbt.materialization_test_default() -%}
    {%- set failures, should_warn, should_error = load_result('main').table.rows[0].values() -%}
    {%- if failures and (model.get('test_metadata') or {}).get('name') in ['rules', 'references'] -%}
        {%- set table = graph.nodes[model.attached_node] -%}
        {%- set complaints = [table.name ~ ' breaks ' ~ failures ~ (' rule' if failures == 1 else ' rules') ~ ' of its yml:'] -%}
        {%- for rule in run_query(sql) -%}
            {%- do complaints.append('  - ' ~ rule[0] ~ ': ' ~ rule[1] | int ~ (' row' if rule[1] == 1 else ' rows')) -%}
        {%- endfor -%}
        {%- if should_error and config.get('severity') | lower == 'error' -%}
            {% do exceptions.raise_compiler_error(complaints | join('\n')) %}
        {%- elif should_warn -%}
            {% do exceptions.warn(complaints | join('\n')) %}
        {%- endif -%}
    {%- elif should_warn and not model.get('test_metadata') and config.get('severity') | lower == 'warn' -%}
        {%- for row in run_query(sql ~ ' limit 20') -%}{%- do exceptions.warn(row[0]) -%}{%- endfor -%}
    {%- endif -%}
    {{ return(relations) }}
{% endmaterialization %}
