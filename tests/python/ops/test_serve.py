"""What Power BI reads, copied from the warehouse that builds to a server."""

import argparse
import datetime as dt
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from bi.tables import contracts, power_bi_names
from ops import serve
from parity import Relation, differences, on_duckdb, on_server
from servers import DatabaseServer
from synthetic_shop import SyntheticShop


def run(*options: str) -> int:
    parser = argparse.ArgumentParser()
    serve.add_parser(parser.add_subparsers())
    args = parser.parse_args(["serve", *options])
    code: int = args.run(args)
    return code


@pytest.fixture
def ends(
    synthetic_shop: SyntheticShop, empty_mysql: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, DatabaseServer]:
    monkeypatch.setenv("FUNNELIFT_DUCKDB_PATH", str(synthetic_shop.trained))
    for key, value in empty_mysql.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("FUNNELIFT_TARGET", raising=False)
    return synthetic_shop.trained, empty_mysql


def unlike(source: Path, server: DatabaseServer, only: dict[str, str]) -> dict[str, list[str]]:
    """What differs in each table; `only` says which rows of the source go."""
    here, there, found = on_duckdb(source), on_server(server), {}
    for table in power_bi_names():
        sql = f"select * from funnelift.{table}"
        key = contracts()[table].grain
        expected, copied = here.query(sql + only.get(table, "")), there.query(sql)
        assert copied.rows or not expected.rows
        found[table] = differences(expected, copied, key or None)
    return {table: told[:5] for table, told in found.items() if told}


def test_every_table_is_copied_cell_by_cell(
    ends: tuple[Path, DatabaseServer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0, capsys.readouterr().out
    assert unlike(*ends, {}) == {}
    assert "rows of bi_sessions" in capsys.readouterr().out
    assert run("--from", "mysql") == 2
    assert "mysql is what Power BI reads already; copy from duckdb" in capsys.readouterr().out


def test_single_rows_go_from_a_day_on_and_totals_whole(ends: tuple[Path, DatabaseServer]) -> None:
    with duckdb.connect(ends[0], read_only=True) as connection:
        found = connection.execute(
            "select cast(quantile_disc(started_at, 0.9) as date), min(started_at) from funnelift.bi_sessions"
        ).fetchone()
    assert found is not None
    day = found[0]
    assert isinstance(day, dt.date)
    assert run("--since", day.isoformat()) == 0
    sessions = f" where started_at >= '{day}'"
    of_sessions = f" where session_id in (select session_id from funnelift.bi_sessions{sessions})"
    assert unlike(*ends, {"bi_sessions": sessions, "bi_session_decisions": of_sessions}) == {}


def test_a_copy_that_fails_leaves_readers_what_they_had(
    ends: tuple[Path, DatabaseServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, server = ends
    assert run() == 0
    broken = tmp_path / "broken.duckdb"
    with duckdb.connect(broken) as connection:
        connection.execute(f"attach '{source}' as whole (read_only)")
        connection.execute("copy from database whole to broken")
        connection.execute("update funnelift.last_build set build_id = 'another'")
    monkeypatch.setenv("FUNNELIFT_DUCKDB_PATH", str(broken))
    capsys.readouterr()
    assert run() == 1
    assert "A build is running or was interrupted" in capsys.readouterr().out
    assert unlike(source, server, {}) == {}


def test_a_server_that_builds_by_itself_is_left_alone(
    ends: tuple[Path, DatabaseServer], capsys: pytest.CaptureFixture[str]
) -> None:
    server = ends[1]
    with closing(server.session()) as session:
        session.execute("create database funnelift character set utf8mb4")
        session.execute("create table funnelift.build_plan (build_id text)")
    assert run() == 1
    assert "its bi_* tables would be replaced" in capsys.readouterr().out
    with closing(server.session()) as session:
        assert Relation(*session.named_rows("show tables from funnelift like 'bi%'")).rows == []


def test_a_text_that_may_be_blank_is_no_null_on_the_server() -> None:
    """Blank text in a column that may be null arrives as null; bi_status says by a blank that nothing is missing."""
    (missing,) = (column for column in contracts()["bi_status"].columns if column.name == "missing")
    assert not missing.is_nullable
