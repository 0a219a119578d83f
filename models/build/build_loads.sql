-- The loads that this build knows of: built before, new, or withdrawn since the last whole build.
{%- set last = built('built_loads') %}
with loads as (

    select
        load_number,
        raw_table,
        accepted_count
    from {{ ref('stg_loads') }}
    where load_number is not null

),

last_built as (

    {% if last is not none -%}
    select
        load_number,
        raw_table,
        accepted_count
    from {{ last }}
    {%- else -%}
    select * from loads
    where 1 = 0
    {%- endif %}

)

select
    loads.load_number,
    loads.raw_table,
    loads.accepted_count,
    case when last_built.load_number is null then 1 else 0 end as is_new,
    0 as is_withdrawn
from loads
left join last_built on loads.load_number = last_built.load_number
union all
select
    last_built.load_number,
    last_built.raw_table,
    last_built.accepted_count,
    0 as is_new,
    1 as is_withdrawn
from last_built
left join loads on last_built.load_number = loads.load_number
where loads.load_number is null
