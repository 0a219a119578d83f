{# No two rows share these columns' values. #}
{% test unique_combination(model, columns) %}
select
    {{ sorted_groups_of(model, columns) }}
    {{ columns | join(', ') }}
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
