-- When each visitor's rows were written last: what scoring has to look at again.
select
    visitors.visitor_id,
    plan.build_number
from {{ touched(ref('int_visitors'), alias='visitors') }}
cross join {{ ref('build_plan') }} as plan
