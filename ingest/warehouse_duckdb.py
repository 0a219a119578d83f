"""The raw tables in a DuckDB file."""

from dataclasses import astuple, fields
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from ingest.warehouse import RAW_TABLES, SCHEMA, LoadRow, Warehouse
from warehouse.errors import FunneliftError

# Whatever is not here is text.
_TYPES = {"price": "DECIMAL(18, 4)", "number": "BIGINT", "flag": "BOOLEAN", "moment": "TIMESTAMP"}
_COLUMNS = {
    table: ", ".join(
        f"{column.name} {_TYPES.get(column.kind, 'VARCHAR')}{'' if column.nullable else ' NOT NULL'}"
        for column in columns
    )
    for table, columns in RAW_TABLES.items()
}


class DuckDBWarehouse(Warehouse):
    """The raw schema of one DuckDB file."""

    setting = "FUNNELIFT_DUCKDB_PATH"

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        self._connection = _connect(self.path)
        try:
            self._connection.execute("SET enable_progress_bar = false")
            self._connection.execute("BEGIN")
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            for table, columns in _COLUMNS.items():
                self._connection.execute(f"CREATE TABLE IF NOT EXISTS {SCHEMA}.{table} ({columns})")
        except BaseException as error:
            self._connection.close()
            if isinstance(error, duckdb.Error):
                raise self._failed(error) from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._connection.execute("COMMIT" if error is None else "ROLLBACK")
        except duckdb.Error as refused:
            error = error or refused
        finally:
            self._connection.close()
        if isinstance(error, duckdb.Error):
            raise self._failed(error) from error

    def loads(self) -> list[LoadRow]:
        """See Warehouse."""
        columns = ", ".join(field.name for field in fields(LoadRow))
        rows = self._connection.execute(f"SELECT {columns} FROM {SCHEMA}.raw_loads").fetchall()
        return [LoadRow(*row) for row in rows]

    def categories(self) -> set[str]:
        """See Warehouse."""
        rows = self._connection.execute(f"SELECT DISTINCT categoryid FROM {SCHEMA}.raw_category_tree").fetchall()
        return {category for (category,) in rows}

    def append(self, table: str, rows: pa.Table, **constants: str) -> int:
        """See Warehouse."""
        if table not in RAW_TABLES:
            raise ValueError(f"unknown raw table {table}")
        if not rows.num_rows:
            return 0
        funnelift_incoming = rows  # noqa: F841
        extra = "".join(f", ${name} AS {name}" for name in constants)
        # DuckDB finds the variable by its name. Registering it instead keeps every block in memory until the commit.
        written = self._connection.execute(
            f"INSERT INTO {SCHEMA}.{table} BY NAME SELECT *{extra} FROM funnelift_incoming", constants
        ).fetchone()
        return int(written[0]) if written else 0

    def record(self, load: LoadRow) -> None:
        """See Warehouse."""
        values = astuple(load)
        marks = ", ".join("?" for _ in values)
        self._connection.execute(f"INSERT INTO {SCHEMA}.raw_loads VALUES ({marks})", values)

    def clear(self) -> None:
        """See Warehouse."""
        for table, columns in _COLUMNS.items():
            self._connection.execute(f"CREATE OR REPLACE TABLE {SCHEMA}.{table} ({columns})")

    def _failed(self, error: duckdb.Error) -> FunneliftError:
        return FunneliftError(f"{self.path}: the warehouse failed: {error}")


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        # The order of rows carries nothing here, and keeping it costs half the speed.
        return duckdb.connect(path, config={"preserve_insertion_order": False})
    except duckdb.Error as error:
        if "lock" in str(error):
            raise FunneliftError(
                f"{path}: another process has the warehouse open (a dbt run, a notebook, a viewer?); "
                f"close it and load again. DuckDB says: {error}"
            ) from error
        raise FunneliftError(f"{path}: cannot be opened as a DuckDB warehouse: {error}") from error
