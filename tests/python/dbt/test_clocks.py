"""Wrong device clocks: what counts as now, what a plausible time is, and that everything stays in the marts."""

import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from compiled import (
    ROOT,
    World,
    compile_project,
    create_raw_tables,
    insert_raw,
    parsed_project,
    read,
    run_dbt,
    settings,
)
from reference import Clock, Event, clock_of
from servers import DatabaseServer
from warehouse.mysql_client.session import COLLATION
from worlds import DAY_MS, HOUR_MS, MIDNIGHT_MS, MINUTE_MS

YEAR_MS = 366 * DAY_MS
RESET_MS = 946_684_800_000  # 2000-01-01, where many devices start after their battery was empty
Case = tuple[Sequence[int], int | None]

BULK = [MIDNIGHT_MS + number * HOUR_MS for number in range(1000)]
BY_HAND: list[tuple[str, Case, Clock]] = [
    ("nothing", ([], None), Clock(None, None, 0, 0)),
    ("one event", ([7], None), Clock(7, 7, 0, 0)),
    ("a quiet year", ([BULK[0] - 365 * DAY_MS, *BULK], None), Clock(BULK[0] - 365 * DAY_MS, BULK[-1], 0, 0)),
    ("a reset clock", ([RESET_MS, RESET_MS, *BULK], None), Clock(BULK[0], BULK[-1], 2, 0)),
    ("two reset clocks", ([RESET_MS, RESET_MS - YEAR_MS, *BULK], None), Clock(BULK[0], BULK[-1], 2, 0)),
    ("a clock ahead in old data", ([*BULK, BULK[-1] + 2 * YEAR_MS], None), Clock(BULK[0], BULK[-1], 0, 1)),
    ("both", ([RESET_MS, *BULK, BULK[-1] + 2 * YEAR_MS], None), Clock(BULK[0], BULK[-1], 1, 1)),
    ("more than stragglers", ([RESET_MS] * 6 + BULK, None), Clock(RESET_MS, BULK[-1], 0, 0)),
    ("two events of thirty years", ([RESET_MS, BULK[0]], None), Clock(RESET_MS, BULK[0], 0, 0)),
    ("20 hours ahead", ([*BULK[:3], BULK[2] + 20 * HOUR_MS], BULK[2] + MINUTE_MS), Clock(BULK[0], BULK[2], 0, 1)),
    ("within the tolerance", (BULK[:3], BULK[2] - 5 * MINUTE_MS), Clock(BULK[0], BULK[2], 0, 0)),
    ("beyond the tolerance", (BULK[:3], BULK[2] - 5 * MINUTE_MS - 1), Clock(BULK[0], BULK[1], 0, 1)),
    ("ahead on the same day", ([*BULK[:2], BULK[1] + HOUR_MS], BULK[1]), Clock(BULK[0], BULK[1], 0, 1)),
    ("the loading machine is behind", (BULK[:3], BULK[0] - DAY_MS), Clock(BULK[0], BULK[2], 0, 0)),
]  # fmt: skip


def clock_row(row: Sequence[Any]) -> Clock:
    early, late, first, last = (None if value is None else int(value) for value in row)
    return Clock(first, last, early or 0, late or 0)


CLOCK_SQL = "select early_event_count, late_event_count, first_plausible_ms, high_water_mark_ms from "


def views(times: Sequence[int]) -> list[Event]:
    return [Event(ms, f"v{number}", "view", "i") for number, ms in enumerate(times)]


def on_duckdb(times: Sequence[int], loaded_ms: int | None, **overrides: Any) -> Clock:
    world = World(views(times), [], [], loaded_ms=loaded_ms)
    with closing(compile_project(**overrides).build(world, until="int_clock")) as connection:
        (row,) = connection.execute(CLOCK_SQL + "funnelift.int_clock").fetchall()
    return clock_row(row)


def random_case(seed: int) -> Case:
    """Bulks and strays at gaps around the setting, loaded before, within or after them."""
    random = Random(seed)
    moment, times = random.choice([0, 1, MIDNIGHT_MS]), list[int]()
    edge, middle = [0, 1, 1, 2, 5], [1, 199, 200, 401, 1000]
    for sizes in (edge, edge, middle, edge, edge):
        moment += random.choice([0, DAY_MS, 365 * DAY_MS, 365 * DAY_MS + 1, 3 * YEAR_MS])
        for _ in range(random.choice(sizes)):
            times.append(moment)
            moment += random.choice([0, 1, HOUR_MS, DAY_MS])
    random.shuffle(times)
    last = max(times)
    loaded = random.choice(
        [None, None, last, last - DAY_MS, random.choice(times) - 5 * MINUTE_MS, max(0, min(times) - DAY_MS)]
    )
    return times, loaded


@pytest.mark.parametrize(("case", "expected"), [entry[1:] for entry in BY_HAND], ids=[entry[0] for entry in BY_HAND])
def test_clocks_worked_out_by_hand(case: Case, expected: Clock) -> None:
    assert on_duckdb(*case) == expected
    assert clock_of(*case, settings()) == expected


@pytest.mark.parametrize("seed", range(60))
def test_random_clocks_are_as_a_plain_loop_reads_them(seed: int) -> None:
    case = random_case(seed)
    assert on_duckdb(*case) == clock_of(*case, settings())


def test_random_clocks_are_of_every_kind() -> None:
    found = [clock_of(*random_case(seed), settings()) for seed in range(60)]
    for kind in ((False, False), (True, False), (False, True), (True, True)):
        assert sum((clock.early > 0, clock.late > 0) == kind for clock in found) >= 2, kind


def test_the_settings_decide() -> None:
    times = [RESET_MS] * 6 + BULK
    assert on_duckdb(times, None, clock_straggler_share=0.01) == Clock(BULK[0], BULK[-1], 6, 0)
    times = [BULK[0] - 91 * DAY_MS, *BULK]
    assert on_duckdb(times, None, clock_gap_days=90) == Clock(BULK[0], BULK[-1], 1, 0)
    assert on_duckdb([RESET_MS, *BULK], None, clock_straggler_share=0).early == 0
    assert on_duckdb(BULK[:3], BULK[0], clock_tolerance_seconds=3600) == Clock(BULK[0], BULK[1], 0, 1)


@pytest.fixture(scope="module")
def on_server(
    mysql_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Sequence[int], int | None], Clock]]:
    """Reads the clock on MySQL or MariaDB, by the models' own compiled SQL."""
    mysql_server.drop_databases()
    folder = tmp_path_factory.mktemp("clocks")
    (folder / "events.csv").write_text("timestamp,visitorid,event,itemid,transactionid\n1433116800000,v,view,i,\n")
    environment = {**os.environ, **mysql_server.environment}
    dbt = str(Path(sys.executable).with_name("dbt"))
    paths = ("--target-path", str(folder / "target"), "--log-path", str(folder / "logs"))
    for command in (
        [sys.executable, "-m", "ingest", "load", "--raw", str(folder / "events.csv")],
        [dbt, "compile", "--select", "stg_loads", "int_clock", *paths],
    ):
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    models = folder / "target" / "compiled" / "funnelift" / "models"
    loads, clock = ((models / name).read_text() for name in ("staging/stg_loads.sql", "intermediate/int_clock.sql"))
    session = mysql_server.session()
    session.execute("create database if not exists funnelift")

    def read_clock(times: Sequence[int], loaded_ms: int | None) -> Clock:
        for table in ("raw_events", "raw_loads"):
            session.execute(f"truncate table funnelift_raw.{table}")
        rows = ", ".join(f"({ms}, 'v', 'view', 'i', 'l', 1)" for ms in times)
        columns = "timestamp, visitorid, event, itemid, load_id, load_number"
        if rows:
            session.execute(f"insert into funnelift_raw.raw_events ({columns}) values {rows}")
        if loaded_ms is not None:
            loaded_at = dt.datetime.fromtimestamp(loaded_ms / 1000, dt.UTC).replace(tzinfo=None)
            counts = "load_number, bytes, line_count, accepted_count, rejected_count, ignored_count, is_synthetic"
            session.execute(
                f"insert into funnelift_raw.raw_loads (load_id, file, content_sha256, raw_table, {counts}, loaded_at) "
                f"values ('l', 'f', 'c', 'raw_events', 1, 0, 0, 0, 0, 0, 0, '{loaded_at}')"
            )
        session.execute("drop table if exists funnelift.stg_loads")
        session.execute(f"create table funnelift.stg_loads as {loads}")
        (row,) = session.rows(f"{CLOCK_SQL} ({clock}) as int_clock")
        # Else it holds the tables that another test drops.
        session.commit()
        return clock_row(row)

    yield read_clock
    session.close()


def test_a_server_reads_the_same_clocks(on_server: Callable[[Sequence[int], int | None], Clock]) -> None:
    cases = [entry[1] for entry in BY_HAND] + [random_case(seed) for seed in range(40)]
    for case in cases:
        assert on_server(*case) == clock_of(*case, settings()), case


# What follows from it


def test_a_clock_ahead_closes_nobodys_session() -> None:
    now = BULK[-1]
    events = [
        *(Event(now - MINUTE_MS, f"shopper{number}", "view", "i") for number in range(3)),
        Event(now - HOUR_MS, "gone", "view", "i"),
        Event(now + 20 * HOUR_MS, "fast", "view", "i"),
    ]
    for loaded_ms, closed in ((now, {"gone"}), (None, {"gone", "shopper0", "shopper1", "shopper2"})):
        connection = compile_project().build(World(events, [], [], loaded_ms=loaded_ms))
        rows = read(connection, "sessions", ["visitor_id"]).values()
        assert {row["visitor_id"] for row in rows if row["is_closed"]} == closed
        assert len(rows) == 5


def test_stray_events_are_counted_named_and_kept() -> None:
    strays = [Event(RESET_MS + number * MINUTE_MS, "reset", "view", "i") for number in (0, 0, 1)]
    connection = compile_project().build(World([*views(BULK), *strays], [], []))
    (summary,) = read(connection, "dataset_summary", []).values()
    assert summary["event_count"] == len(BULK) + 2
    assert summary["implausible_event_count"] == 2
    assert (summary["implausible_visitor_id"], summary["implausible_event_at"]) == ("reset", dt.datetime(2000, 1, 1))
    assert (summary["first_event_at"], summary["first_plausible_at"]) == (
        dt.datetime(2000, 1, 1),
        dt.datetime(2015, 6, 1),
    )
    sessions = read(connection, "sessions", ["session_id"])
    assert sum(row["event_count"] for row in sessions.values()) == len(BULK) + 2
    days = {row["date_day"] for row in read(connection, "dim_date", ["date_day"]).values()}
    assert {row["started_date"] for row in sessions.values()} <= days
    assert len(days) == 42 + 1, "no day between the stray one and the others"


def test_without_strays_nobody_is_named() -> None:
    (summary,) = read(compile_project().build(World(views(BULK), [], [])), "dataset_summary", []).values()
    assert summary["implausible_event_count"] == 0
    assert summary["implausible_visitor_id"] is summary["implausible_event_at"] is None


@pytest.mark.parametrize("offset", [-720, 0, 840])
def test_every_local_day_with_a_session_is_in_the_calendar(offset: int) -> None:
    """Thirty years apart, and strays on the edges of local days."""
    for times in ([RESET_MS, BULK[0] + 11 * YEAR_MS], [RESET_MS, RESET_MS + DAY_MS - 1, *BULK, BULK[-1] + 3 * YEAR_MS]):
        connection = compile_project(shop_utc_offset_minutes=offset).build(World(views(times), [], []))
        days = {row["date_day"] for row in read(connection, "dim_date", ["date_day"]).values()}
        assert {row["started_date"] for row in read(connection, "sessions", ["session_id"]).values()} <= days


@pytest.mark.end_to_end
def test_a_build_warns_of_wrong_clocks_and_passes(tmp_path: Path) -> None:
    database = tmp_path / "world.duckdb"
    with duckdb.connect(str(database)) as connection:
        create_raw_tables(connection)
        insert_raw(connection, World([*views(BULK), Event(RESET_MS, "reset", "view", "i")], [], []))
        connection.execute("delete from funnelift_raw.raw_loads where raw_table <> 'raw_events'")
    outcome = run_dbt("build", database=database, manifest=parsed_project().deepcopy())
    assert outcome.success, outcome.errors
    assert "Wrong clocks: 1 event has an implausible time, before 2015-06-01 00:00:00" in outcome.warnings
    assert "visitor reset at 2000-01-01 00:00:00" in outcome.warnings


OWN_TABLE = {"raw_schema": "shop", "raw_events_table": "clicks"}


def own_table(times: Sequence[int]) -> list[str]:
    """SQL that makes a shop's own table of events."""
    rows = ", ".join(f"({ms}, 'v{place}', 'view', 'i')" for place, ms in enumerate(times))
    columns = "timestamp bigint, visitorid varchar(9), event varchar(9), itemid varchar(9)"
    return [
        "create schema if not exists shop",
        f"create table shop.clicks ({columns})",
        f"insert into shop.clicks values {rows}",
    ]


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ([ms // 1000 for ms in BULK], "1000 of 1000 events lie before 1990 or after 2100.*look like seconds"),
        ([ms * 1000 for ms in BULK], "1000 of 1000 events .*look like microseconds"),
        ([*BULK[6:], *[ms // 1000 for ms in BULK[:6]]], "6 of 1000 events lie before 1990 or after 2100"),
        ([*BULK[5:], *[0] * 5], None),
    ],
    ids=["seconds", "microseconds", "a part in seconds", "a few clocks without a battery"],
)
def test_an_own_table_in_another_unit_is_refused(times: list[int], says: str | None, tmp_path: Path) -> None:
    database = tmp_path / "world.duckdb"
    with duckdb.connect(str(database)) as connection:
        for statement in own_table(times):
            connection.execute(statement)
    outcome = run_dbt("run", "--select", "+int_events", database=database, **OWN_TABLE)
    assert outcome.success == (says is None), outcome.errors
    if says is not None:
        assert re.search(rf"Table shop\.clicks: {says}", outcome.errors.replace("\n", " "))


def test_an_own_table_in_another_unit_is_refused_on_a_server(mysql_server: DatabaseServer, tmp_path: Path) -> None:
    mysql_server.drop_databases()
    session = mysql_server.session()
    session.execute(f"create database shop character set utf8mb4 collate {COLLATION}")
    for statement in own_table([ms // 1000 for ms in BULK]):
        session.execute(statement)
    session.commit()
    command = [str(Path(sys.executable).with_name("dbt")), "run", "--select", "+int_events"]
    command += ["--vars", json.dumps(OWN_TABLE)]
    command += ["--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path / "logs")]
    outcome = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **mysql_server.environment}, check=False, capture_output=True, text=True
    )
    session.execute("drop database shop")
    session.close()
    assert outcome.returncode != 0
    assert "1000 of 1000 events lie before 1990 or after 2100" in outcome.stdout.replace("\n", " "), outcome.stdout
    assert "look like seconds" in outcome.stdout
