{{ funnel_transitions(
    {'all': 'whole_shop', 'visitor_type': 'visitor_type', 'category': 'category', 'weekday': 'weekday', 'hour': 'started_hour'},
    by_day=false
) }}
