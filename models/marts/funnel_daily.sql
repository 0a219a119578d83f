{{ funnel_transitions({'all': 'whole_shop', 'visitor_type': 'visitor_type', 'category': 'category'}, by_day=true) }}
