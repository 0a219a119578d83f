{#
    A relation without its database, for views: DuckDB calls the database after the file, so a view that names it breaks
    when the file is copied under another name.
#}
{% macro portable(relation) %}{{ return(relation.include(database=false)) }}{% endmacro %}
