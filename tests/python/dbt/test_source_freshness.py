"""`dbt source freshness`: how long ago events were loaded, on each engine, and where nothing was loaded at all."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from compiled import CATALOG, parsed_project, run_dbt
from paths import ROOT
from servers import DatabaseServer

CREATE = "create table funnelift_raw.raw_loads (raw_table varchar(64), loaded_at {moment})"
INSERT = "insert into funnelift_raw.raw_loads values ('raw_events', {now} - interval {hours} hour), ('other', {now})"


def load(execute: Callable[[str], object], hours: int, *, moment: str, now: str) -> None:
    """A load of events that many hours ago, and one of something else just now."""
    execute(CREATE.format(moment=moment))
    execute(INSERT.format(hours=hours, now=now))


def result_in(folder: Path) -> tuple[str, float]:
    """Status and age in seconds, of the only source that has an age."""
    (result,) = json.loads((folder / "target" / "sources.json").read_text())["results"]
    assert result["unique_id"] == "source.funnelift.raw.raw_loads"
    return result["status"], result["max_loaded_at_time_ago_in_s"]


def on_duckdb(folder: Path) -> tuple[bool, str, float]:
    manifest = parsed_project().deepcopy()
    outcome = run_dbt("source", "freshness", database=folder / f"{CATALOG}.duckdb", manifest=manifest)
    return outcome.success, *result_in(folder)


def on_server(server: DatabaseServer, folder: Path) -> tuple[bool, str, float]:
    command: list[Any] = [Path(sys.executable).with_name("dbt"), "--quiet", "source", "freshness"]
    command += ["--target-path", folder / "target", "--log-path", folder / "logs"]
    finished = subprocess.run(command, cwd=ROOT, env={**os.environ, **server.environment}, check=False)
    return finished.returncode == 0, *result_in(folder)


@pytest.mark.parametrize(("hours", "status"), [(1, "pass"), (48, "warn"), (24 * 8, "error")])
def test_old_events_are_told_from_new_ones(tmp_path: Path, hours: int, status: str) -> None:
    with duckdb.connect(tmp_path / f"{CATALOG}.duckdb") as connection:
        connection.execute("create schema funnelift_raw")
        load(connection.execute, hours, moment="timestamp", now="(current_timestamp at time zone 'UTC')")
    assert on_duckdb(tmp_path) == (status != "error", status, pytest.approx(hours * 3600, abs=600))


def test_events_that_were_in_the_warehouse_already_are_not_late(tmp_path: Path) -> None:
    assert on_duckdb(tmp_path) == (True, "pass", pytest.approx(0, abs=1))


def test_a_server_tells_old_events_too(empty_mysql: DatabaseServer, tmp_path: Path) -> None:
    assert on_server(empty_mysql, tmp_path) == (True, "pass", pytest.approx(0, abs=1))
    with closing(empty_mysql.session()) as session:
        session.execute("create database funnelift_raw")
        load(session.execute, 48, moment="datetime(3)", now="utc_timestamp(3)")
        session.commit()
    found = on_server(empty_mysql, tmp_path)
    empty_mysql.drop_databases()
    assert found == (True, "warn", pytest.approx(48 * 3600, abs=600))
