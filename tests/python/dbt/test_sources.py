"""A raw table that is there is found, whatever part of its schema dbt has listed so far."""

from contextlib import closing
from pathlib import Path

import duckdb

from parity import AskedWarehouse, on_duckdb, on_server
from servers import DatabaseServer
from trial import make_trial

SOURCES = """
version: 2
sources:
  - {name: raw, schema: funnelift_raw, tables: [{name: raw_loads}, {name: raw_events}]}
"""
# What another node sees while dbt takes the schema's tables into its list one by one: the first of them.
LISTED_IN_PART = """
{% set wanted = source('raw', 'raw_loads') %}
{% if execute %}
{% do adapter.cache_added(api.Relation.create(
    database=wanted.database, schema=wanted.schema, identifier='first', type='table')) %}
{% endif %}
select
    {{ 1 if existing_source('raw_loads') is not none else 0 }} as has_loads,
    {{ 1 if has_rows('raw_loads') else 0 }} as has_rows,
    {{ 1 if existing_source('raw_events') is not none else 0 }} as has_events
"""


def check(warehouse: AskedWarehouse, folder: Path) -> None:
    trial = make_trial(warehouse, folder, {"models/sources.yml": SOURCES, "models/found.sql": LISTED_IN_PART})
    outcome = trial.run("run")
    assert outcome.success, outcome.errors
    assert trial.read("found").rows == [(1, 1, 0)]


def test_a_table_that_dbt_has_not_listed_yet_is_found(tmp_path: Path) -> None:
    database = tmp_path / "warehouse.duckdb"
    with duckdb.connect(database) as connection:
        connection.execute(
            "create schema funnelift_raw; create table funnelift_raw.raw_loads as select 1 as load_number"
        )
    check(on_duckdb(database), tmp_path / "project")


def test_so_it_is_on_a_server(empty_mysql: DatabaseServer, tmp_path: Path) -> None:
    with closing(empty_mysql.session()) as session:
        session.execute("create database funnelift character set utf8mb4")
        session.execute("create database funnelift_raw character set utf8mb4")
        session.execute("create table funnelift_raw.raw_loads as select 1 as load_number")
        session.commit()
    check(on_server(empty_mysql), tmp_path / "project")
