-- Part of what reads it: no engine copies the events once more, and MySQL and MariaDB give the texts of a view another
-- collation. Events whose raw lines were dropped (`python -m ops retain`) count as before.
-- depends_on: {{ ref('build_plan') }}
-- depends_on: {{ source('raw', 'raw_events') }}
{{ config(materialized='ephemeral') }}
{{ staged_events(is_refund=false) }}
