-- What the shop paid back: no act of a visitor, so neither an event nor part of a session. Part of what reads it, as
-- stg_events is.
-- depends_on: {{ source('raw', 'raw_events') }}
{{ config(materialized='ephemeral') }}
{{ staged_events(is_refund=true) }}
