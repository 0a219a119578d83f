"""The warehouse on Apache Spark: what a load writes there. Spark itself runs in dbt's process alone."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from uuid import uuid4

from warehouse.base import RAW_SCHEMA, RawTables, Warehouse
from warehouse.contract import Column
from warehouse.duckdb import DuckDBRawTables, DuckDBWarehouse
from warehouse.errors import FunneliftError, UsageError
from warehouse.settings import PROJECT, LoadSettings, WarehouseSettings
from warehouse.spark_session import SparkMarts

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

ENVIRONMENT = "FUNNELIFT_SPARK_WAREHOUSE"
# Loads are kept in a DuckDB file; Spark reads copies as Parquet, which the list names. The mark says they are current.
LOADS, COPIES, LIST, MARK = "loads.duckdb", "raw", "raw_tables.json", "raw_tables_are_copied"


class SparkWarehouse(SparkMarts):
    """A folder with raw tables as Parquet, which Spark's sessions read, and Spark's own tables."""

    @classmethod
    def open(cls, settings: WarehouseSettings) -> AbstractContextManager[Warehouse]:
        """See Warehouse; a Spark session on the folder that FUNNELIFT_SPARK_WAREHOUSE names."""
        return cls.open_folder(warehouse_folder())

    @classmethod
    def begin_load(
        cls, settings: LoadSettings, tables: Mapping[str, Sequence[Column]], *, is_first: bool = True
    ) -> AbstractContextManager[RawTables]:
        """See Warehouse; readers see the load's rows when the list of tables names them."""
        folder = warehouse_folder()
        if not folder.parent.is_dir():
            raise UsageError(f"{ENVIRONMENT}: the folder {folder.parent} does not exist")
        if not is_first and not (folder / LOADS).is_file():
            raise FunneliftError(f"no loads at {folder} ({ENVIRONMENT}): nothing is loaded yet")
        folder.mkdir(exist_ok=True)
        return DuckDBWarehouse.loading(
            folder / LOADS, tables, partial(SparkRawTables, folder), memory_limit=settings.duckdb_memory_limit
        )

    @classmethod
    def back_up(cls, settings: LoadSettings, folder: Path) -> None:
        """See Warehouse; refused."""
        _not_yet("a backup")

    @classmethod
    def restore(cls, settings: LoadSettings, folder: Path, *, replace: bool) -> None:
        """See Warehouse; refused."""
        _not_yet("a backup")


def warehouse_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Find the folder of the Spark warehouse.

    Parameters
    ----------
    environment : mapping
        Environment variables.

    Returns
    -------
    Path
        FUNNELIFT_SPARK_WAREHOUSE, else `spark-warehouse` in the project.
    """
    return Path(environment.get(ENVIRONMENT) or PROJECT / "spark-warehouse").absolute()


class SparkRawTables(DuckDBRawTables):
    """The loads of a Spark warehouse, in a transaction; after the commit Spark's copies of them are made anew."""

    def __init__(
        self, folder: Path, connection: "duckdb.DuckDBPyConnection", tables: Mapping[str, Sequence[Column]]
    ) -> None:
        super().__init__(connection, tables)
        self._folder = folder

    def append(self, table: str, rows: "pa.Table", **constants: str | int) -> int:
        """See RawTables."""
        self._copies_are_old(bool(rows.num_rows))
        return super().append(table, rows, **constants)

    def fill(self, table: str, query: str, values: Sequence[object]) -> int:
        """See RawTables."""
        self._copies_are_old()
        return super().fill(table, query, values)

    def delete(self, table: str, condition: str, values: Sequence[object]) -> int:
        """See RawTables."""
        self._copies_are_old()
        return super().delete(table, condition, values)

    def clear(self) -> None:
        """See RawTables."""
        self._copies_are_old()
        super().clear()

    def finish(self) -> None:
        """Write all raw tables as Parquet, then the list that names them; nothing where the copies are current."""
        folder, mark = self._folder, self._folder / MARK
        columns = {table: ", ".join(map(_column, columns)) for table, columns in self._tables.items()}
        if mark.is_file() and mark.read_text(encoding="utf-8") == json.dumps(columns):
            return
        place, before = folder / COPIES / uuid4().hex, self._listed()
        for table in columns:
            (place / table).mkdir(parents=True)
            self._copy(table, place / table / "part.parquet")
        listed = [{"name": table, "columns": columns[table], "location": str(place / table)} for table in columns]
        new = folder / f"{LIST}.new"
        new.write_text("".join(json.dumps(table) + "\n" for table in listed), encoding="utf-8")
        new.replace(folder / LIST)
        mark.write_text(json.dumps(columns), encoding="utf-8")
        for old in (folder / COPIES).iterdir():
            # A build that is at work reads those of before.
            if old not in (place, *before):
                shutil.rmtree(old)

    def _listed(self) -> set[Path]:
        """The folder of the copies that the list names now, if there are any."""
        path = self._folder / LIST
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return {Path(json.loads(line)["location"]).parent for line in lines}

    def _copy(self, table: str, file: Path) -> None:
        # Spark's timestamps are moments; those of the raw tables are UTC.
        moments = {column.name for column in self._tables[table] if column.data_type == "timestamp"}
        chosen = ", ".join(
            f'"{column.name}"' + (f" at time zone 'UTC' as {column.name}" if column.name in moments else "")
            for column in self._tables[table]
        )
        target = str(file).replace("'", "''")
        self._connection.execute(f"copy (select {chosen} from {RAW_SCHEMA}.{table}) to '{target}' (format parquet)")

    def _copies_are_old(self, is_so: bool = True) -> None:
        # Before the commit: if the process dies after it, the next load sees that there is something to copy.
        if is_so:
            (self._folder / MARK).unlink(missing_ok=True)


def _column(column: Column) -> str:
    is_text = column.data_type == "text" or column.longest is not None
    return f"`{column.name}` {'string' if is_text else column.data_type}"


def _not_yet(what: str) -> NoReturn:
    raise FunneliftError(
        f"{what} is not there yet on Spark: copy the folder of FUNNELIFT_SPARK_WAREHOUSE while nothing works on it "
        "(docs/spark.md)"
    )
