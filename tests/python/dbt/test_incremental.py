"""A build of what has changed gives what a full build gives, whatever arrived, came late, was corrected or went."""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from compiled import CATALOG, Outcome, environment, parsed_project, run_dbt
from history import ABOUT_BUILDS, FIRST_LOAD, GIVEN_ONCE, History, differences, rows_of
from nasty_shop import MAPPING, nasty_world, write_csv
from ops.retain import retain
from parity import on_server
from paths import ROOT
from reference import Category, Event, Property
from servers import DatabaseServer
from worlds import CATEGORIES, DAY_MS, MIDNIGHT_MS, random_world

EVENT = (*Event._fields, "line_number")
# What only ml writes and what only shows tables takes no part in a build's work.
TABLES = ["--exclude", "config.materialized:prediction", "config.materialized:view"]
# What comes after an arrival: mostly a build.
THEN = st.sampled_from(["build", "build", "wait", "int_touched_visitors", "int_session_totals", "sessions", "anew"])
# Several times as many with FUNNELIFT_EXAMPLES=20, say.
EXAMPLES = int(os.environ.get("FUNNELIFT_EXAMPLES", "3"))


def build(database: Path, *arguments: str, **overrides: Any) -> Outcome:
    # A full build is cheaper for a shop this small; here the other way is what is tried.
    overrides = {"full_build_share": 1, **overrides}
    outcome = run_dbt("run", *arguments, database=database, manifest=parsed_project().deepcopy(), **overrides)
    assert outcome.success, outcome.errors
    return outcome


def plan_of(database: Path) -> tuple[int, int, str]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute("select is_full, is_continued, reason from funnelift.build_plan").fetchone() or (
            0,
            0,
            "",
        )


def assert_equals_a_full_build(database: Path, **overrides: Any) -> None:
    folder = database.parent / "full"
    folder.mkdir(exist_ok=True)
    copy = folder / database.name
    shutil.copy(database, copy)
    build(copy, *TABLES, "--full-refresh", **overrides)
    assert differences(rows_of(database), rows_of(copy)) == {}
    shutil.rmtree(folder)


class Arrivals(RuleBasedStateMachine):
    """Rows of a nasty shop arrive in any order and number; builds come in between, whole, interrupted or full."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(prefix="arrivals-"))
        self.database = self.folder / f"{CATALOG}.duckdb"
        self.history = History(self.database)
        self.timeout = 1800
        self.of_events: list[int] = []
        self.days = 0

    @initialize(seed=st.integers(0, 1000))
    def open_shop(self, seed: int) -> None:
        self.random = Random(seed)
        # Many visitors with few events each, mostly in the order of time: most are not touched by a load.
        world = random_world(seed, visitors=50, events_each=5, with_second_thoughts=True)
        self.events, self.properties = self._in_order(world.events), self._in_order(world.properties)
        self.sent: list[tuple[Any, ...]] = []
        self.total = len(self.events)
        self._load("raw_category_tree", Category._fields, CATEGORIES)
        self.load(share=0.5)
        self.go_on("build")

    @rule(share=st.sampled_from([0.03, 0.15]), then=THEN)
    def arrive(self, share: float, then: str) -> None:
        """Some of what is left, with lines that came before and events whose clock was wrong."""
        self.load(share)
        self.go_on(then)

    def load(self, share: float) -> None:
        count = max(2, int(self.total * share))
        taken, self.events = self.events[:count], self.events[count:]
        rows = [(*event[:-1], event.event_id or self._event_id(), line) for line, event in enumerate(taken)]
        rows += self.random.sample(self.sent, min(2, len(self.sent)))
        if rows and self.random.random() < 0.2:
            ahead = self.random.choice(rows)
            rows.append((ahead[0] + self.random.choice([1, -1]) * 9 * 365 * DAY_MS, *ahead[1:-2], None, None))
        if rows:
            self.sent += rows
            self._load("raw_events", EVENT, rows)
        count = max(1, int(len(self.properties) * share))
        told, self.properties = self.properties[:count], self.properties[count:]
        if told:
            self._load("raw_item_properties", Property._fields, told)

    @precondition(lambda self: any(row[-2] for row in self.sent))
    @rule(then=THEN)
    def correct(self, then: str) -> None:
        """An event is sent again under its id: at another time, of another item, or as another visitor's."""
        event = self.random.choice([row for row in self.sent if row[-2]])
        other = self.random.choice(self.sent)
        changed = self.random.choice(
            [(event[0] + 40 * DAY_MS, *event[1:]), (event[0], other[1], *event[2:]), (*event[:3], other[3], *event[4:])]
        )
        self._load("raw_events", EVENT, [(*changed[:-1], 1)])
        self.go_on(then)

    @precondition(lambda self: len(self.of_events) > 1)
    @rule(then=THEN)
    def withdraw(self, then: str) -> None:
        self.history.withdraw(self.of_events.pop(self.random.randrange(1, len(self.of_events))))
        self.go_on(then)

    @rule(timeout=st.sampled_from([1800, 600]), then=THEN)
    def set_timeout(self, timeout: int, then: str) -> None:
        self.timeout = timeout
        self.go_on(then)

    @rule(days=st.integers(0, 10))
    def forget(self, days: int) -> None:
        """Raw lines from before a day go, after a whole build."""
        self.go_on("build")
        with environment(FUNNELIFT_DUCKDB_PATH=str(self.database), FUNNELIFT_TARGET="duckdb"):
            retain(dt.date(2015, 5, 30) + dt.timedelta(days=days))
        # Their files cannot be withdrawn any more.
        self.of_events = self.of_events[-1:]

    def go_on(self, then: str) -> None:
        """Build, whole, in part or anew, or let more arrive first."""
        part = {"build": TABLES, "anew": [*TABLES, "--full-refresh"], "wait": []}.get(then, ["--select", f"+{then}"])
        if part:
            build(self.database, *part, session_timeout_seconds=self.timeout)

    def teardown(self) -> None:
        self.go_on("build")
        assert_equals_a_full_build(self.database, session_timeout_seconds=self.timeout)
        shutil.rmtree(self.folder)

    def _in_order(self, rows: Any) -> list[Any]:
        late = {id(row): self.random.random() < 0.1 for row in rows}
        return sorted(rows, key=lambda row: row.timestamp + late[id(row)] * self.random.randrange(30) * DAY_MS)

    def _event_id(self) -> str | None:
        return f"e{self.random.randrange(10**9)}" if self.random.random() < 0.3 else None

    def _load(self, table: str, columns: Any, rows: Any) -> None:
        self.days += 1
        number = self.history.load(table, columns, rows, FIRST_LOAD + dt.timedelta(days=self.days))
        if table == "raw_events":
            self.of_events.append(number)


@pytest.mark.end_to_end
def test_any_arrivals_and_any_builds_give_what_one_full_build_gives() -> None:
    run_state_machine_as_test(
        Arrivals,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=5, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_each_reason_touches_whom_it_concerns(tmp_path: Path) -> None:
    """One visitor for each reason, who has no event in what arrives or goes."""
    database = tmp_path / f"{CATALOG}.duckdb"
    history = History(database)

    def load(*events: tuple[Any, ...]) -> int:
        """Day, visitor, step, item, order and event id of events."""
        rows = [(MIDNIGHT_MS + int(day * DAY_MS), *told[:4], None, None, None, told[4], 1) for day, *told in events]
        return history.load("raw_events", EVENT, rows, FIRST_LOAD)

    load(
        (10, "bought", "view", "i", None, None),
        (10.01, "bought", "transaction", "i", "o1", None),
        # On a later day, so that demand of the item has to know of the order.
        (12, "looked after", "view", "i", None, None),
        (11, "moved", "transaction", "j", "o2", "e1"),
        (5, "met", "view", "k", None, None),
        (14, "wanted long after", "view", "q", None, None),
        *((15 + number / 100, "filler", "view", "l", None, None) for number in range(30)),
        (16, "goes on", "view", "m", None, None),
        (14, "met the category", "view", "r", None, None),
    )
    known = MIDNIGHT_MS - DAY_MS
    told = [(known, item, *fact) for item in "rs" for fact in (("categoryid", "c"), ("790", "n20.000"))]
    history.load("raw_item_properties", Property._fields, told, FIRST_LOAD)
    build(database, *TABLES)
    late = load(
        (2, "bought first", "transaction", "n", "o1", None),
        (19, "later", "view", "n", None, None),
        # Demand of an item reaches 28 days back.
        (-8, "wanted once", "view", "q", None, None),
        # Usual prices of a category are those of all its items.
        (9, "met another", "view", "s", None, None),
    )
    corrected = load((11, "other", "transaction", "n", "o3", "e1"))
    told = [(MIDNIGHT_MS + 4 * DAY_MS, "k", "790", "n10.000")]
    history.load("raw_item_properties", Property._fields, told, FIRST_LOAD)
    build(database, *TABLES)
    assert_equals_a_full_build(database)

    def counted() -> set[str]:
        with duckdb.connect(str(database), read_only=True) as connection:
            rows = connection.execute("select visitor_id from funnelift.session_funnels where has_transaction = 1")
            return {visitor for (visitor,) in rows.fetchall()}

    assert counted() == {"bought first", "other"}
    # A part of a build sees a load that no whole build will.
    never_built = load((1, "came and went", "transaction", "p", "o2", None), (20, "filler", "view", "p", None, None))
    build(database, "--select", "+int_session_totals")
    for number in (late, corrected, never_built):
        history.withdraw(number)
    build(database, *TABLES)
    assert plan_of(database) == (0, 1, "")
    assert counted() == {"bought", "moved"}
    assert_equals_a_full_build(database)


def test_a_late_refund_touches_whose_purchase_it_lowers_and_nobody_else(tmp_path: Path) -> None:
    """Refunds come, go, are sent again, and are of another purchase once their order is known."""
    database = tmp_path / f"{CATALOG}.duckdb"
    history = History(database)

    def load(*lines: tuple[Any, ...]) -> int:
        """Day, visitor, kind, item, order, price and event id of lines."""
        rows = [
            (MIDNIGHT_MS + day * DAY_MS, *told[:4], Decimal(told[4]) if told[4] else None, None, None, told[5], 1)
            for day, *told in lines
        ]
        return history.load("raw_events", EVENT, rows, FIRST_LOAD)

    def after(*lines: tuple[Any, ...]) -> tuple[dict[str, int], set[str]]:
        """Revenue by visitor, and who was touched, when these lines have come."""
        if lines:
            load(*lines)
        build(database, *TABLES)
        assert plan_of(database)[0] == int(history.loads == 1)
        assert_equals_a_full_build(database)
        with duckdb.connect(str(database), read_only=True) as connection:
            revenue = "select visitor_id, cast(sum(revenue) as integer) from funnelift.session_funnels group by 1"
            touched = connection.execute("select visitor_id from funnelift.int_touched_visitors").fetchall()
            return dict(connection.execute(revenue).fetchall()), {visitor for (visitor,) in touched}

    everybody = {"a": 10, "b": 20, "c": 30}
    bought = [
        (day, who, "transaction", f"i{who}", f"o{who}", price, None)
        for day, (who, price) in enumerate(everybody.items())
    ]
    # The clock stands still from here on.
    everybody["z"] = 0
    assert after(*bought, (20, "z", "view", "iz", None, None, None))[0] == everybody
    assert after((9, "", "refund", "", "oa", None, None)) == (everybody | {"a": 0}, {"a"})
    # Of an order that nobody knows yet, so of what its visitor bought before.
    assert after((9, "b", "refund", "ib", "od", 5, "r1")) == (everybody | {"a": 0, "b": 15}, {"b"})
    everybody["d"] = 40
    assert after((8, "d", "transaction", "ib", "od", 40, None)) == (everybody | {"a": 0, "d": 35}, {"b", "d"})
    # The last line with its id is of another purchase, then of none.
    assert after((9, "c", "refund", "ic", "oc", 7, "r1")) == (everybody | {"a": 0, "c": 23}, {"b", "c", "d"})
    assert after((9, "e", "view", "ic", None, None, "r1"))[0] == everybody | {"a": 0, "e": 0}
    history.withdraw(history.loads)
    assert after()[0] == everybody | {"a": 0, "c": 23}
    for number in (2, 3, 5):
        history.withdraw(number)
    assert after() == (everybody, {"a", "c"})


def test_a_new_day_of_demand_and_prices_still_looks_28_days_back(tmp_path: Path) -> None:
    """What came before the new day is read, and stays as it was."""
    database = tmp_path / f"{CATALOG}.duckdb"
    history = History(database)

    def load(*days: int) -> None:
        rows = [
            (MIDNIGHT_MS + day * DAY_MS, f"v{day}", "view", "i", None, 10 + day, "c", None, None, 1) for day in days
        ]
        history.load("raw_events", EVENT, rows, FIRST_LOAD)

    load(1, 2, 29, 30)
    build(database, *TABLES)
    load(30)
    build(database, *TABLES)
    assert plan_of(database) == (0, 0, "")
    with duckdb.connect(str(database), read_only=True) as connection:
        demand = connection.execute("select views_28d from funnelift.int_item_demand_daily order by day_number")
        assert demand.fetchall() == [(0,), (1,), (2,), (2,)]
        prices = connection.execute("select mean_price_28d from funnelift.int_category_price_daily order by day_number")
        assert prices.fetchall() == [(None,), (11,), (11.5,), (25.5,)]
    assert_equals_a_full_build(database)


def test_a_plan_says_why_it_makes_everything_anew(tmp_path: Path) -> None:
    database = tmp_path / f"{CATALOG}.duckdb"
    history = History(database)
    world = random_world(3)
    history.load("raw_events", Event._fields, world.events[:40], FIRST_LOAD)
    build(database, *TABLES)
    assert plan_of(database) == (1, 0, "no earlier build")
    build(database, *TABLES)
    assert plan_of(database) == (0, 0, "")
    build(database, *TABLES, session_timeout_seconds=60)
    assert plan_of(database) == (1, 0, "changed: session_timeout_seconds")
    history.load("raw_category_tree", Category._fields, CATEGORIES, FIRST_LOAD)
    build(database, *TABLES, session_timeout_seconds=60)
    assert plan_of(database) == (1, 0, "a new category tree")
    build(database, "--select", "+int_events", "--full-refresh", session_timeout_seconds=60)
    build(database, *TABLES, session_timeout_seconds=60)
    assert plan_of(database) == (1, 0, "the last full build was interrupted")
    history.load("raw_events", Event._fields, world.events[40:], FIRST_LOAD)
    build(database, *TABLES, session_timeout_seconds=60, full_build_share=0.1)
    assert plan_of(database) == (1, 0, "much is new")
    build(database, "--select", "+int_events", session_timeout_seconds=60)
    build(database, *TABLES, session_timeout_seconds=60)
    assert plan_of(database) == (0, 1, "")
    with duckdb.connect(str(database)) as connection:
        connection.execute("alter table funnelift_raw.raw_events drop column load_number")
    build(database, *TABLES, session_timeout_seconds=60)
    assert plan_of(database) == (1, 0, "raw_events has no load_number")


def test_a_part_of_the_models_is_no_whole_build(tmp_path: Path) -> None:
    database = tmp_path / f"{CATALOG}.duckdb"
    History(database).load("raw_events", Event._fields, random_world(3).events, FIRST_LOAD)

    def builds() -> tuple[object, ...]:
        with duckdb.connect(str(database), read_only=True) as connection:
            return (
                connection.execute(
                    "select (select build_id from funnelift.build_plan) = (select build_id from funnelift.last_build), "
                    "(select count(*) from funnelift.built_loads)"
                ).fetchone()
                or ()
            )

    build(database, *TABLES)
    assert builds() == (True, 1)
    build(database, "--select", "+sessions")
    assert builds() == (False, 1)
    build(database, "--select", "+last_build", "--exclude", "session_features")
    assert builds() == (False, 1)
    build(database, *TABLES)
    assert builds() == (True, 1)


# The server test: a fixed nasty shop, by the commands that people run.


def test_a_nasty_shop_in_parts_is_the_shop_as_a_whole_on_the_server(
    empty_mysql: DatabaseServer, tmp_path: Path
) -> None:
    random, world = Random(5), nasty_world()
    orders = [event for event in world.events if event.event != "transaction" or event.transactionid is not None]
    events = list(orders)
    random.shuffle(events)
    parts = [events[:9_000], events[9_000:12_000], [*events[12_000:], *random.sample(events[:9_000], 200)]]
    properties = list(world.properties)
    random.shuffle(properties)
    for number, part in enumerate(parts):
        write_csv(tmp_path / f"{number}" / f"events_{number}.csv", Event._fields, part)
        told = properties[number :: len(parts)]
        write_csv(tmp_path / f"{number}" / f"item_properties_{number}.csv", Property._fields, told)
    write_csv(tmp_path / "0" / "category_tree.csv", Category._fields, world.categories)
    ask = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("FUNNELIFT_", "DBT_"))},
        **empty_mysql.environment,
        "DBT_TARGET_PATH": str(tmp_path / "target"),
        "DBT_LOG_PATH": str(tmp_path / "logs"),
    }

    def run(*command: str) -> None:
        outcome = subprocess.run(
            command, cwd=ROOT, env=ask, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert outcome.returncode == 0, outcome.stdout[-4000:]

    def dbt(command: str, *options: str) -> None:
        variables = json.dumps({"full_build_share": 1})
        run(str(Path(sys.executable).with_name("dbt")), command, "--vars", variables, *TABLES, *options)

    def found() -> dict[str, list[str]]:
        query, tables = on_server(empty_mysql).query, {}
        names = query("select table_name from information_schema.tables where table_schema = 'funnelift'").rows
        for (name,) in names:
            relation = query(f"select * from funnelift.{name}")
            places = [place for place, column in enumerate(relation.columns) if not column.endswith(GIVEN_ONCE)]
            if str(name) not in ABOUT_BUILDS and places:
                tables[str(name)] = sorted(repr([row[place] for place in places]) for row in relation.rows)
        return tables

    mapping = tmp_path / "mapping.yml"
    mapping.write_text(json.dumps(MAPPING))
    load = [sys.executable, "-m", "ingest", "load", "--mapping", str(mapping), "--max-reject-rate", "1", "--raw"]
    for number in range(len(parts)):
        run(*load, str(tmp_path / f"{number}"))
        dbt("build" if number else "run")
    run(sys.executable, "-m", "ingest", "unload", "events_1.csv")
    dbt("run")
    in_parts = found()
    dbt("run", "--full-refresh")
    assert differences(in_parts, found()) == {}
