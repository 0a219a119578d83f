"""A build of what has changed gives what a full build gives, whatever arrived, came late, was corrected or went."""

import datetime as dt
import os
import shutil
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
from history import History, differences, rows_of
from ops.retain import retain
from reference import Category, Event, Property
from worlds import CATEGORIES, DAY_MS, random_world

EVENT = (*Event._fields, "event_id", "line_number")
FIRST_LOAD = dt.datetime(2026, 1, 1)
# What only ml writes and what only shows tables takes no part in a build's work.
TABLES = ["--exclude", "config.materialized:prediction", "config.materialized:view"]
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
        return connection.execute("select is_full, is_continued, reason from funnelift.build_plan").fetchone() or (0, 0, "")


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
        self.is_built = self.is_current = False
        self.days = 0

    @initialize(seed=st.integers(0, 1000))
    def open_shop(self, seed: int) -> None:
        self.random = Random(seed)
        world = random_world(seed)
        self.events, self.properties = list(world.events), list(world.properties)
        self.random.shuffle(self.events)
        self.random.shuffle(self.properties)
        self.sent: list[tuple[Any, ...]] = []
        self._load("raw_category_tree", Category._fields, CATEGORIES)
        self.load(share=0.5)

    @rule(share=st.sampled_from([0.05, 0.3]))
    def load(self, share: float) -> None:
        """Some of what is left, in no order, with lines that came before and events whose clock was wrong."""
        count = max(2, int(len(self.events) * share))
        taken, self.events = self.events[:count], self.events[count:]
        rows = [(*event, self._event_id(), line) for line, event in enumerate(taken)]
        rows += self.random.sample(self.sent, min(2, len(self.sent)))
        if rows and self.random.random() < 0.3:
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
    @rule()
    def correct(self) -> None:
        """An event is sent again under its id: at another time, of another item, or as another visitor's."""
        event = self.random.choice([row for row in self.sent if row[-2]])
        other = self.random.choice(self.sent)
        changed = self.random.choice(
            [(event[0] + 40 * DAY_MS, *event[1:]), (event[0], other[1], *event[2:]), (*event[:3], other[3], *event[4:])]
        )
        self._load("raw_events", EVENT, [(*changed[:-1], 1)])

    @precondition(lambda self: len(self.history.standing) > 3)
    @rule()
    def withdraw(self) -> None:
        self.history.withdraw(self.random.choice(self.history.standing[1:]))
        self.is_current = False

    @rule()
    def build(self) -> None:
        build(self.database, *TABLES, session_timeout_seconds=self.timeout)
        self.is_built = self.is_current = True

    @precondition(lambda self: self.is_built)
    @rule(reached=st.sampled_from(["int_touched_visitors", "int_events", "int_session_totals", "sessions"]))
    def interrupt(self, reached: str) -> None:
        """A build that gets as far as one model."""
        build(self.database, "--select", f"+{reached}", session_timeout_seconds=self.timeout)

    @precondition(lambda self: self.is_built)
    @rule()
    def build_anew(self) -> None:
        build(self.database, *TABLES, "--full-refresh", session_timeout_seconds=self.timeout)
        self.is_current = True

    @rule(timeout=st.sampled_from([1800, 600]))
    def set_timeout(self, timeout: int) -> None:
        self.timeout = timeout
        self.is_current = False

    @precondition(lambda self: self.is_current)
    @rule(days=st.integers(0, 10))
    def forget(self, days: int) -> None:
        """Raw lines from before a day go, after a whole build."""
        self.build()
        with environment(FUNNELIFT_DUCKDB_PATH=str(self.database), FUNNELIFT_TARGET="duckdb"):
            retain(dt.date(2015, 5, 30) + dt.timedelta(days=days))
        self.history.standing = []
        self.sent = [row for row in self.sent if row[-2] is None]

    def teardown(self) -> None:
        self.build()
        assert_equals_a_full_build(self.database, session_timeout_seconds=self.timeout)
        shutil.rmtree(self.folder)

    def _event_id(self) -> str | None:
        return f"e{self.random.randrange(10**9)}" if self.random.random() < 0.3 else None

    def _load(self, table: str, columns: Any, rows: Any) -> None:
        self.days += 1
        self.history.load(table, columns, rows, FIRST_LOAD + dt.timedelta(days=self.days))
        self.is_current = False


@pytest.mark.end_to_end
def test_any_arrivals_and_any_builds_give_what_one_full_build_gives() -> None:
    run_state_machine_as_test(
        Arrivals,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
