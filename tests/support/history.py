"""A shop whose rows arrive in loads, in any order; and what a warehouse says, whichever build said it."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from compiled import create_raw_tables

# When the first load came; the events of test shops are older.
FIRST_LOAD = dt.datetime(2026, 1, 1)
# What a build says of itself, and what it had to do; a full build and others must differ here.
ABOUT_BUILDS = {
    *("build_loads", "build_plan", "built_loads", "last_build", "visitor_changes"),
    *("int_changed_categories", "int_changed_events", "int_changed_items", "int_touched_visitors"),
}
# Numbers given once, in the order of arrival: they stay with what they name, and no mart holds them.
GIVEN_ONCE = ("_key", "load_number")
# A visitor or an item keeps its number, and an item its facts, when its last event is gone.
MAY_HOLD_MORE = {"int_visitors", "int_items", "int_root_categories", "int_item_attributes"}


@dataclass
class History:
    """The raw tables of a DuckDB warehouse, written load by load as `ingest load` and `ingest unload` do."""

    database: Path
    loads: int = 0
    standing: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        with duckdb.connect(str(self.database)) as connection:
            create_raw_tables(connection)

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], loaded_at: dt.datetime) -> int:
        """Add rows as one more load, and return its number."""
        rows = list(rows)
        self.loads += 1
        self.standing.append(self.loads)
        incoming = pa.table({name: pa.array([row[place] for row in rows]) for place, name in enumerate(columns)})
        with duckdb.connect(str(self.database)) as connection:
            connection.register("incoming", incoming)
            connection.execute(
                f"insert into funnelift_raw.{table} by name select *, ? as load_id, ? as load_number from incoming",
                [f"load {self.loads}", self.loads],
            )
            connection.execute(
                "insert into funnelift_raw.raw_loads by name select ? as load_id, ? as load_number, ? as file, "
                "? as raw_table, ? as line_count, ? as accepted_count, 0 as rejected_count, 0 as ignored_count, "
                "0 as is_synthetic, ? as loaded_at",
                [f"load {self.loads}", self.loads, f"{self.loads}.csv", table, len(rows), len(rows), loaded_at],
            )
        return self.loads

    def withdraw(self, number: int) -> None:
        """Take a load out again."""
        self.standing.remove(number)
        with duckdb.connect(str(self.database)) as connection:
            for table in ("raw_events", "raw_item_properties", "raw_category_tree", "raw_loads"):
                connection.execute(f"delete from funnelift_raw.{table} where load_number = ?", [number])


def rows_of(database: Path) -> dict[str, list[str]]:
    """Every row of every table, as text in a fixed order."""
    found = {}
    with duckdb.connect(str(database), read_only=True) as connection:
        tables = connection.execute("select table_name from duckdb_tables() where schema_name = 'funnelift'").fetchall()
        for (table,) in tables:
            cursor = connection.execute(f'select * from funnelift."{table}" limit 0')
            names = [column[0] for column in cursor.description if not column[0].endswith(GIVEN_ONCE)]
            if table in ABOUT_BUILDS or not names:
                continue
            chosen = ", ".join(f'"{name}"' for name in names)
            found[table] = sorted(map(repr, connection.execute(f'select {chosen} from funnelift."{table}"').fetchall()))
    return found


def differences(found: dict[str, list[str]], full: dict[str, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    """For each table that is not as a full build makes it: some ghosts, and some rows that are missing."""
    wrong = {}
    for table in found.keys() | full.keys():
        left, right = Counter(found.get(table, [])), Counter(full.get(table, []))
        ghosts, missing = list((left - right).elements()), list((right - left).elements())
        if missing or (ghosts and table not in MAY_HOLD_MORE):
            wrong[table] = ghosts[:3], missing[:3]
    return wrong
