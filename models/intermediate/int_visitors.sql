-- Visitors as whole numbers: a late event moves no other visitor's.
{{ numbered_ids('visitor_key', 'visitor_id') }}
