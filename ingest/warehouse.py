"""The only module of ingest that knows the target engine: one transaction that takes a whole load, or nothing."""

import datetime as dt
import os
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from ingest.errors import LoadError, UsageError

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("duckdb",)

SCHEMA = "funnelift_raw"
_TABLES = {
    "raw_events": """
        timestamp BIGINT NOT NULL, visitorid VARCHAR NOT NULL, event VARCHAR NOT NULL, itemid VARCHAR NOT NULL,
        transactionid VARCHAR, price DECIMAL(18, 4), categoryid VARCHAR, load_id VARCHAR NOT NULL""",
    "raw_item_properties": """
        timestamp BIGINT NOT NULL, itemid VARCHAR NOT NULL, property VARCHAR NOT NULL, value VARCHAR,
        load_id VARCHAR NOT NULL""",
    "raw_category_tree": "categoryid VARCHAR NOT NULL, parentid VARCHAR, load_id VARCHAR NOT NULL",
    "raw_loads": """
        load_id VARCHAR NOT NULL, file VARCHAR NOT NULL, content_sha256 VARCHAR NOT NULL, mapping_sha256 VARCHAR,
        raw_table VARCHAR NOT NULL, bytes BIGINT NOT NULL, line_count BIGINT NOT NULL, accepted_count BIGINT NOT NULL,
        rejected_count BIGINT NOT NULL, ignored_count BIGINT NOT NULL, is_synthetic BOOLEAN NOT NULL,
        loaded_at TIMESTAMP NOT NULL""",
    "raw_rejects": """
        load_id VARCHAR NOT NULL, file VARCHAR NOT NULL, line BIGINT NOT NULL, reason VARCHAR NOT NULL,
        raw_text VARCHAR NOT NULL""",
}


@dataclass(frozen=True)
class LoadRow:
    """One row of raw_loads: one file's load."""

    load_id: str
    file: str
    content_sha256: str
    mapping_sha256: str | None
    raw_table: str
    bytes: int
    line_count: int
    accepted_count: int
    rejected_count: int
    ignored_count: int
    is_synthetic: bool
    loaded_at: dt.datetime


def choose_target(option: str | None) -> str:
    """
    Settle which warehouse to load into: the option, else FUNNELIFT_TARGET, else DuckDB.

    Parameters
    ----------
    option : str or None
        What the command line says.

    Returns
    -------
    str
        A target this version can load into.

    Raises
    ------
    UsageError
        It cannot.
    """
    target = option or os.environ.get("FUNNELIFT_TARGET") or "duckdb"
    if target not in TARGETS:
        where = "--target" if option else "FUNNELIFT_TARGET"
        raise UsageError(f"{where}: {target!r} is no target that ingest can load into; use {', '.join(TARGETS)}")
    return target


class Warehouse:
    """The raw schema inside one transaction: entered, it begins; left without an exception, it commits."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        self._connection = _connect(self.path)
        try:
            self._connection.execute("SET enable_progress_bar = false")
            self._connection.execute("BEGIN")
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            for table, columns in _TABLES.items():
                self._connection.execute(f"CREATE TABLE IF NOT EXISTS {SCHEMA}.{table} ({columns})")
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._connection.execute("COMMIT" if error is None else "ROLLBACK")
        finally:
            self._connection.close()

    def loads(self) -> list[LoadRow]:
        """
        List what has been loaded.

        Returns
        -------
        list of LoadRow
            One a file.
        """
        columns = ", ".join(field.name for field in fields(LoadRow))
        rows = self._connection.execute(f"SELECT {columns} FROM {SCHEMA}.raw_loads").fetchall()
        return [LoadRow(*row) for row in rows]

    def append(self, table: str, rows: pa.Table, **constants: str) -> None:
        """
        Add rows to a raw table.

        Parameters
        ----------
        table : str
            Name of a raw table.
        rows : pyarrow.Table
            Columns named as in the table.
        **constants : str
            Columns with one value for all the rows, such as load_id.
        """
        self._insert(table, rows, constants, "")

    def append_new_categories(self, rows: pa.Table, load_id: str) -> None:
        """
        Add those rows of a category tree whose category has no row yet.

        Parameters
        ----------
        rows : pyarrow.Table
            `categoryid` and `parentid`.
        load_id : str
            Load they come from.
        """
        condition = f"WHERE categoryid NOT IN (SELECT categoryid FROM {SCHEMA}.raw_category_tree)"
        self._insert("raw_category_tree", rows, {"load_id": load_id}, condition)

    def record(self, load: LoadRow) -> None:
        """
        Add a row to raw_loads.

        Parameters
        ----------
        load : LoadRow
            One file's load.
        """
        values = astuple(load)
        marks = ", ".join("?" for _ in values)
        self._connection.execute(f"INSERT INTO {SCHEMA}.raw_loads VALUES ({marks})", values)

    def count(self, table: str, load_id: str) -> int:
        """
        Count the rows that a load left in a table.

        Parameters
        ----------
        table : str
            Name of a raw table.
        load_id : str
            The load.

        Returns
        -------
        int
            Rows.
        """
        _known(table)
        row = self._connection.execute(f"SELECT count(*) FROM {SCHEMA}.{table} WHERE load_id = ?", [load_id]).fetchone()
        return int(row[0]) if row else 0

    def clear(self) -> None:
        """Empty every raw table; like everything here, undone if the load fails."""
        for table, columns in _TABLES.items():
            self._connection.execute(f"CREATE OR REPLACE TABLE {SCHEMA}.{table} ({columns})")

    def _insert(self, table: str, funnelift_incoming: pa.Table, constants: dict[str, Any], condition: str) -> None:
        _known(table)
        if not funnelift_incoming.num_rows:
            return
        extra = "".join(f", ${name} AS {name}" for name in constants)
        # DuckDB finds the variable by its name. Registering it instead keeps every block in memory until the commit.
        self._connection.execute(
            f"INSERT INTO {SCHEMA}.{table} BY NAME SELECT *{extra} FROM funnelift_incoming {condition}", constants
        )


def open_warehouse(target: str) -> Warehouse:
    """
    Find the warehouse of a target.

    Parameters
    ----------
    target : str
        As choose_target gives it.

    Returns
    -------
    Warehouse
        Ready to be entered.

    Raises
    ------
    UsageError
        Its settings cannot work.
    """
    assert target in TARGETS
    path = Path(os.environ.get("FUNNELIFT_DUCKDB_PATH") or ROOT / "warehouse.duckdb")
    if path.stem in ("funnelift", SCHEMA):
        raise UsageError(
            f"FUNNELIFT_DUCKDB_PATH: {path} cannot be used: DuckDB names the catalog after the file, and "
            f"{path.stem}.sessions would have two meanings; choose another name, e.g. warehouse.duckdb"
        )
    if not path.parent.is_dir():
        raise UsageError(f"FUNNELIFT_DUCKDB_PATH: the folder {path.parent} does not exist")
    return Warehouse(path)


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        # The order of rows carries nothing here, and keeping it costs half the speed.
        return duckdb.connect(path, config={"preserve_insertion_order": False})
    except duckdb.Error as error:
        if "lock" in str(error):
            raise LoadError(
                f"{path}: another process has the warehouse open (a dbt run, a notebook, a viewer?); "
                f"close it and load again. DuckDB says: {error}"
            ) from error
        raise LoadError(f"{path}: cannot be opened as a DuckDB warehouse: {error}") from error


def _known(table: str) -> None:
    if table not in _TABLES:
        raise ValueError(f"unknown raw table {table}")
