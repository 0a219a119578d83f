{#
    Stops the build, or warns where cut_category_branches lets it go on, when categories of dim_category have no root within
    category_max_depth levels. One of them is named, with its file and with what is wrong.
#}
{% macro tell_rootless_categories(categories) %}
    {% set parents = {} %}
    {% if execute %}
        {% for row in run_query(
            'select tree.category_id, tree.parent_category_id from ' ~ ref('stg_categories') ~ ' as tree inner join '
            ~ categories ~ ' as categories on tree.category_id = categories.category_id where categories.is_complete = 0 '
            ~ 'order by tree.category_id'
        ) %}{% do parents.update({row[0]: row[1]}) %}{% endfor %}
    {% endif %}
    {% if parents %}
        {# Upwards from the first of them, to where its branch has a root or comes back to itself. #}
        {% set way = [parents.keys() | first] %}
        {% for _ in parents if parents[way[-1]] in parents and way[-1] not in way[:-1] %}{% do way.append(parents[way[-1]]) %}{% endfor %}
        {% set is_circle = way[-1] in way[:-1] %}
        {% set category = way[-1] if is_circle else way[0] %}
        {% set circle = way[way.index(category):] if is_circle else [] %}
        {% set what = 'goes in a circle: ' ~ (circle[:6] + (['…', category] if circle | length > 6 else [])) | join(' under ')
            if is_circle else 'lies deeper than category_max_depth allows, ' ~ var('category_max_depth') ~ ' levels below its root' %}
        {% set message = 'Category tree: ' ~ parents | length ~ (' category has' if parents | length == 1 else ' categories have')
            ~ ' no root. ' ~ category ~ file_of_category(category) ~ ' ' ~ what ~ '. ' %}
        {% if var('cut_category_branches') %}
            {% do exceptions.warn(message ~ 'They stand alone, each as a root of its own (cut_category_branches)') %}
        {% else %}
            {% do exceptions.raise_compiler_error(
                message ~ 'Load a tree without that (python -m ingest unload takes the old one out)'
                ~ ('' if is_circle else ', or raise category_max_depth, which may be 30')
                ~ ". To go on without these branches: dbt build --vars '{cut_category_branches: true}'"
            ) %}
        {% endif %}
    {% endif %}
{% endmacro %}

{# The file that names a category, in brackets; nothing where no load is known. #}
{% macro file_of_category(category) %}
    {%- set trees = optional_source('raw_category_tree', {'categoryid': to_short_text, 'load_number': to_bigint}) -%}
    {%- set loads = optional_source('raw_loads', {'load_number': to_bigint, 'raw_table': to_short_text, 'file': to_text}) -%}
    {%- set found = run_query(
        'select max(loads.file) as file from ' ~ trees ~ ' as trees inner join ' ~ loads ~ ' as loads on trees.load_number = '
        ~ "loads.load_number and loads.raw_table = 'raw_category_tree' where trees.categoryid = "
        ~ dbt.string_literal(dbt.escape_single_quotes(category))
    ) -%}
    {{ return(' (' ~ found[0][0] ~ ')' if found[0][0] is not none else '') }}
{% endmacro %}
