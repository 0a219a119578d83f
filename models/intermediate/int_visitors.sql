-- Visitors as whole numbers. A number is given once and stays: who comes later gets a later one.
-- depends_on: {{ ref('int_changed_events') }}
with visitors as (

    {% if is_touched_build() -%}
    select changes.visitor_id
    from {{ ref('int_changed_events') }} as changes
    left join {{ this }} as known on changes.visitor_id = known.visitor_id
    where known.visitor_id is null
    {%- else -%}
    select visitor_id from {{ ref('stg_events') }}
    {%- endif %}

)

select
    {{ sorted_groups() }}
    {{ row_key('visitor_key', 'visitor_id') }}
    visitor_id
from visitors
group by visitor_id
{{ row_key_order('visitor_id') }}
