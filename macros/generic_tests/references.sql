{#
    Every value of a column that is not null stands in a column of another table: {column: {to: ref('table'), field: column}}.
    Apart from a table's other rules, because dbt holds back what reads a broken table only where the test reads nothing
    that is built later.
#}
{% test references(model) %}
{%- for column, parent in kwargs.get('arguments', kwargs).items() %}
{% if not loop.first %}union all{% endif %}
select
    {{ rule_text('references ' ~ column ~ ' to ' ~ parent.to.identifier ~ '.' ~ parent.field) }} as rule,
    count(*) as broken_rows
from (select {{ column }} as child_key from {{ tested_rows(model) }} where {{ column }} is not null) as child
left join (select {{ parent.field }} as parent_key from {{ parent.to }}) as parent on child.child_key = parent.parent_key
where parent.parent_key is null
having count(*) > 0
{%- endfor %}
{% endtest %}
