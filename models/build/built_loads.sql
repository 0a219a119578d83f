-- The loads whose rows are in the marts. Comes after all other tables, so that what fails before it is done again.
{%- for model in ['bi_session_facts', 'bi_funnel_daily', 'dataset_summary', 'dim_date', 'funnel_daily', 'funnel_dropoff',
                  'session_features', 'session_funnels', 'stg_treatment_assignments', 'visitor_changes'] %}
-- depends_on: {{ ref(model) }}
{%- endfor %}
-- depends_on: {{ ref('build_loads') }}
{%- set before = built('built_loads') %}
{%- if is_whole_build() or before is none %}
select
    load_number,
    raw_table,
    accepted_count
from {{ ref('build_loads') }}
where
    is_withdrawn = 0
    {%- if not is_whole_build() %}
    and 1 = 0
    {%- endif %}
{%- else %}
select * from {{ before }}
{%- endif %}
