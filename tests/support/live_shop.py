"""A shop for the live service's tests: its warehouse as of any events, and what a build of all of them would hold."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from filelock import FileLock

from compiled import FEATURE_KEY, Rows, World, create_raw_tables, insert_raw, read
from live.compile import CATALOG, Compiled, compile_features
from live.facts import ASSIGNMENT_COLUMNS, BuildPlan, Tables, lay_out
from live.shop import RawEvent, Shop
from ml.data.build import Build
from reference import Event

# What may know the future, and what the clock of the whole shop says.
NOT_FEATURES = {"has_transaction", "is_mature", "is_bot"}
PLAN = BuildPlan(Build("build-1", 1), {}, 0)


def compiled_once(folder: Path) -> Compiled:
    """The models as the service has them, compiled once for all processes of a test run."""
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        return compile_features({}, folder)


@contextmanager
def built(compiled: Compiled, world: World) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse in memory that one full build of a world made."""
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute(f"set TimeZone = 'UTC'; attach ':memory:' as {CATALOG}; use {CATALOG}")
        create_raw_tables(connection)
        insert_raw(connection, world)
        # Places tell which of two events with one id was sent last; these have none.
        connection.execute("update funnelift_raw.raw_events set load_number = 1, line_number = rowid")
        connection.execute("create schema funnelift")
        for model in compiled.models:
            connection.execute(f"create table {model.relation} as {model.sql}")
        yield connection


def full_build(compiled: Compiled, world: World) -> Rows:
    """The rows of session_features after a full build."""
    with built(compiled, world) as connection:
        return read(connection, "session_features", FEATURE_KEY)


def shop_of(compiled: Compiled, world: World) -> Shop:
    """The service's shop when its warehouse holds a world."""
    with built(compiled, world) as connection:

        def table(sql: str) -> pa.Table:
            return connection.execute(sql).to_arrow_table()

        tables = Tables(
            PLAN,
            high_water_mark_ms=0,
            events=table("from funnelift.int_events"),
            event_items=table("from funnelift.int_event_items"),
            visitors=table("from funnelift.int_visitors"),
            items=table("from funnelift.int_items"),
            properties=table("select timestamp, itemid, property, value from funnelift_raw.raw_item_properties"),
            tree=table("from funnelift.stg_categories"),
            assignments=pa.table({name: pa.nulls(0, pa.string()) for name in ASSIGNMENT_COLUMNS}),
        )
    facts, chain = lay_out(tables, compiled)
    return Shop(facts, chain)


def raw_events(events: Sequence[Event], first_place: int = 1) -> list[RawEvent]:
    return [
        RawEvent(
            event.timestamp, event.visitorid, event.event, event.itemid, event.transactionid, event.price,
            event.categoryid, event.quantity, event.event_id, place,
        )
        for place, event in enumerate(events, first_place)
    ]  # fmt: skip


def shown(row: dict[str, Any], without: set[str]) -> dict[str, str]:
    """A row as text that shows every bit."""
    return {column: repr(value) for column, value in row.items() if column not in without}


def unlike(found: Sequence[dict[str, Any]], full: Rows, without: set[str]) -> list[str]:
    """What differs between rows of the service's and those of the full build."""
    differences = []
    for row in found:
        key = tuple(row[part] for part in FEATURE_KEY)
        if key not in full:
            differences.append(f"{key} is not in the build")
            continue
        mine, theirs = shown(row, without), shown(full[key], without)
        differences += [
            f"{key}.{name}: {mine[name]}, not {theirs[name]}" for name in mine if mine[name] != theirs[name]
        ]
    return differences
