-- Items as whole numbers: what is joined and grouped by them costs half of what their texts would.
{{ numbered_ids('item_key', 'item_id') }}
