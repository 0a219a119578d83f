"""One engine beside another: how to ask each, and how to say what differs in their answers."""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from math import isclose
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pyarrow.parquet as pq

from servers import DatabaseServer
from spark_cluster import PYTHON

# What differs between two runs on one engine too, or names the engine. All else is compared, the models' hashes too.
OWN = {
    "load_id": "drawn anew for each file",
    "loaded_ms": "the time of the load",
    "build_id": "drawn anew for each build",
    "run_id": "the time of the run",
    "model_run_id": "the time of the run",
    "conversion_run_id": "the time of the run",
    "uplift_run_id": "the time of the run",
    "conversion_run_finished_at": "the time of the run",
    "uplift_run_finished_at": "the time of the run",
    "scored_at": "the time of the run",
    "started_at": "the time of the run",
    "finished_at": "the time of the run",
    "published_at": "the time of the run",
    "target": "the engine's name",
    "config_json": "holds the engine's name",
}
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Relation:
    """Columns and rows, as Python takes them from the engine's own driver."""

    columns: Sequence[str]
    rows: Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class Warehouse(ABC):
    """An engine: how commands reach it, and how the tests read it."""

    name: str
    environment: Mapping[str, str]
    is_copied: ClassVar[bool] = False

    @property
    def python(self) -> str:
        """The interpreter that has the engine's driver."""
        return sys.executable

    def dbt(self, commands: Sequence[Sequence[str]]) -> list[list[str]]:
        """What to run for some commands of dbt, given by their arguments."""
        return [[str(Path(sys.executable).with_name("dbt")), *command] for command in commands]

    @abstractmethod
    def read(self, table: str) -> Relation:
        """All rows of a table or view."""

    @abstractmethod
    def answer(self, analysis: Path) -> Relation:
        """What a compiled analysis gives."""


@dataclass(frozen=True)
class AskedWarehouse(Warehouse):
    """The engine's own driver answers queries."""

    query: Callable[[str], Relation]

    def read(self, table: str) -> Relation:
        return self.query(f"select * from funnelift.{table}")

    def answer(self, analysis: Path) -> Relation:
        return self.query(analysis.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class SparkWarehouse(Warehouse):
    """Tables are read from their files; views and analyses from copies that Spark made after dbt's commands."""

    folder: Path
    is_copied: ClassVar[bool] = True

    @property
    def python(self) -> str:
        return str(PYTHON)

    def dbt(self, commands: Sequence[Sequence[str]]) -> list[list[str]]:
        """One process for all of them: a session takes long to start."""
        script = str(Path(__file__).with_name("spark_dbt.py"))
        return [[str(PYTHON), script, json.dumps(commands), str(self.folder / "copies")]]

    def read(self, table: str) -> Relation:
        return self._rows(table, self.folder / "warehouse" / "funnelift.db")

    def answer(self, analysis: Path) -> Relation:
        return self._rows(analysis.stem, self.folder / "copies")

    def _rows(self, name: str, folder: Path) -> Relation:
        copy = self.folder / "copies" / name
        found = pq.read_table(copy if copy.exists() else folder / name)
        # Spark's timestamps are moments; on the other engines they have no zone.
        cells = [map(without_zone, column.to_pylist()) for column in found.columns]
        return Relation(found.column_names, list(zip(*cells, strict=True)))


def without_zone(cell: Any) -> Any:
    return cell.replace(tzinfo=None) if isinstance(cell, datetime) else cell


def on_duckdb(path: Path) -> AskedWarehouse:
    def query(sql: str) -> Relation:
        with duckdb.connect(path, read_only=True) as connection:
            cursor = connection.execute(sql)
            return Relation([column[0] for column in cursor.description], cursor.fetchall())

    return AskedWarehouse("DuckDB", {"FUNNELIFT_TARGET": "duckdb", "FUNNELIFT_DUCKDB_PATH": str(path)}, query)


def on_spark(folder: Path, cluster: Mapping[str, str]) -> Warehouse:
    """A warehouse in a folder, for the sessions of a cluster."""
    place = {"FUNNELIFT_TARGET": "spark", "FUNNELIFT_SPARK_WAREHOUSE": str(folder / "warehouse")}
    return SparkWarehouse("Spark", {**cluster, **place}, folder)


def on_server(server: DatabaseServer) -> AskedWarehouse:
    def query(sql: str) -> Relation:
        with closing(server.session()) as session:
            return Relation(*session.named_rows(sql))

    with closing(server.session()) as session:
        kind = "MariaDB" if session.server.is_mariadb else "MySQL"
        return AskedWarehouse(f"{kind} {session.server.text}", server.environment, query)


def is_same(expected: Any, found: Any, tolerance: float) -> bool:
    """Equal in value and kind, but for the last digits of floats; MySQL has no type of truth, only 0 and 1."""
    if isinstance(expected, bool):
        expected = int(expected)
    if isinstance(expected, float) and isinstance(found, float):
        return isclose(expected, found, rel_tol=tolerance)
    return type(expected) is type(found) and bool(expected == found)


def differences(
    expected: Relation, found: Relation, key: Sequence[str] | None, tolerance: float = TOLERANCE
) -> list[str]:
    """What differs between two relations, by their key, or by the rows' order where there is none."""
    if list(expected.columns) != list(found.columns):
        return [f"columns: expected {list(expected.columns)}, found {list(found.columns)}"]
    sides = []
    for relation in (expected, found):
        places = [relation.columns.index(column) for column in key or ()]
        rows = {
            (number,) if key is None else tuple(row[at] for at in places): row
            for number, row in enumerate(relation.rows, 1)
        }
        if len(rows) != len(relation.rows):
            return [f"{key} is no key: {len(relation.rows)} rows, {len(rows)} keys"]
        sides.append(rows)
    told = [f"row {row} is missing" for row in sides[0] if row not in sides[1]]
    told += [f"row {row} is too much" for row in sides[1] if row not in sides[0]]
    for row, cells in sides[0].items():
        for column, cell, other in zip(expected.columns, cells, sides[1].get(row, cells), strict=True):
            if column not in OWN and not is_same(cell, other, tolerance):
                told.append(f"{column} in row {row}: expected {cell!r}, found {other!r}")
    return told
