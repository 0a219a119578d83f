"""The warehouse in a DuckDB file."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.base import BATCH_ROWS, SCHEMA, Publication, Warehouse
from warehouse.errors import FunneliftError
from warehouse.settings import WarehouseSettings

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# DuckDB's index on a text key takes 200 bytes a row and more time than all else in a publication. Up to this many rows
# the key is a PRIMARY KEY; beyond, the check in the transaction enforces it alone.
INDEXED_ROWS = 1_000_000
RETRY_SECONDS = 0.1
RESERVED_STEMS = ("funnelift", "funnelift_raw")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class DuckDBWarehouse(Warehouse):
    """A connection to the file, which nobody else can open meanwhile."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection") -> None:
        self._connection = connection

    def columns(self, table: str) -> list[str]:
        """See Warehouse."""
        found = self._connection.execute(
            "select column_name from information_schema.columns where table_schema = ? and table_name = ? "
            "order by ordinal_position",
            [SCHEMA, table],
        ).fetchall()
        return [name for (name,) in found]

    def query(self, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """See Warehouse."""
        result = self._connection.execute(sql, list(values))
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def read(
        self, table: str, columns: Sequence[str], not_in: tuple[str, Sequence[str]] | None = None
    ) -> tuple[int, Iterator["pa.RecordBatch"]]:
        """See Warehouse."""
        source = f"from {SCHEMA}.{_identifier(table)} as source"
        if not_in is not None:
            other, key = not_in
            match = " and ".join(f"source.{_identifier(name)} = other.{_identifier(name)}" for name in key)
            source += f" where not exists (select 1 from {SCHEMA}.{_identifier(other)} as other where {match})"
        (rows,) = self._connection.execute(f"select count(*) {source}").fetchone() or (0,)
        chosen = ", ".join(f"source.{_identifier(name)}" for name in columns)
        reader = self._connection.execute(f"select {chosen} {source}").to_arrow_reader(BATCH_ROWS)
        return int(rows), iter(reader)

    def publish(self, publications: Sequence[Publication]) -> None:
        """See Warehouse; all in one transaction."""
        import duckdb

        self._connection.execute("begin")
        try:
            for publication in publications:
                self._write(publication)
            self._connection.execute("commit")
        except duckdb.ConstraintException as error:
            self._connection.execute("rollback")
            raise FunneliftError(f"nothing was published, a key is broken: {error}") from None
        except BaseException:
            self._connection.execute("rollback")
            raise

    def _write(self, publication: Publication) -> None:
        # DuckDB's transactions cover DDL, so other connections see the old tables until the commit.
        table = f"{SCHEMA}.{_identifier(publication.name)}"
        key = ", ".join(map(_identifier, publication.key))
        existing = self.columns(publication.name)
        publication.check_columns(existing)
        if not (publication.append and existing):
            columns = ", ".join(
                f"{_identifier(field.name)} {_sql_type(field.type)}{'' if field.nullable else ' not null'}"
                for field in publication.rows.schema
            )
            indexed = f", primary key ({key})" if len(publication.rows) <= INDEXED_ROWS else ""
            self._connection.execute(f"drop table if exists {table}")
            self._connection.execute(f"create table {table} ({columns}{indexed})")
            description = publication.description.replace("'", "''")
            self._connection.execute(f"comment on table {table} is '{description}'")
        self._connection.register("published_rows", publication.rows)
        try:
            self._connection.execute(f"insert into {table} select * from published_rows")
        finally:
            self._connection.unregister("published_rows")
        repeated = self._connection.execute(
            f"select count(*) from (select 1 from {table} group by {key} having count(*) > 1)"
        ).fetchone()
        if repeated and repeated[0]:
            raise FunneliftError(f"nothing was published, a key is broken: {repeated[0]} keys of {table} repeat")


@contextmanager
def open_duckdb(settings: WarehouseSettings) -> Iterator[DuckDBWarehouse]:
    """Open the file for reading and writing, alone, until the block ends.

    Parameters
    ----------
    settings : WarehouseSettings
        Place of the file, and how long to wait for whoever has it open.

    Yields
    ------
    DuckDBWarehouse
        The open warehouse.

    Raises
    ------
    FunneliftError
        When the file is missing, badly named, kept open by another program or not a DuckDB file.
    """
    path = settings.duckdb_path
    if path.stem in RESERVED_STEMS:
        raise FunneliftError(
            f"the DuckDB file must not be called {path.name}: its catalog would be called like a schema. "
            "Rename it, e.g. to warehouse.duckdb (FUNNELIFT_DUCKDB_PATH)"
        )
    if not path.is_file():
        raise FunneliftError(f"no warehouse at {path}: run `python -m ingest load` and `dbt build` first")
    connection = _connect(path, settings)
    try:
        yield DuckDBWarehouse(connection)
    finally:
        connection.close()


def _connect(path: Path, settings: WarehouseSettings) -> "duckdb.DuckDBPyConnection":
    import duckdb

    options: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": settings.duckdb_memory_limit,
        "threads": str(settings.threads),
        "preserve_insertion_order": "false",
    }
    deadline = time.monotonic() + settings.lock_wait_seconds
    while True:
        try:
            return duckdb.connect(path, config=options)
        except duckdb.IOException as error:
            if "could not set lock" not in str(error).lower():
                raise FunneliftError(f"cannot open {path} as a DuckDB file: {error}") from None
            if time.monotonic() >= deadline:
                raise FunneliftError(
                    f"the warehouse {path} is in use by another program, which did not finish within "
                    f"{settings.lock_wait_seconds} s (lock_wait_seconds): wait for it (another training, a dbt run) or "
                    f"close it (a notebook, a database viewer), then run again. DuckDB says: {error}"
                ) from None
        time.sleep(RETRY_SECONDS)


def _identifier(name: str) -> str:
    if not IDENTIFIER.fullmatch(name):
        raise FunneliftError(f"{name!r} is not a usable table or column name: letters, digits and underscores only")
    return f'"{name}"'


def _sql_type(arrow_type: "pa.DataType") -> str:
    import pyarrow as pa

    types = {
        pa.string(): "varchar",
        pa.float64(): "double",
        pa.int64(): "bigint",
        pa.int32(): "integer",
        pa.bool_(): "boolean",
        pa.timestamp("us"): "timestamp",
    }
    if pa.types.is_dictionary(arrow_type):
        return _sql_type(arrow_type.value_type)
    return types[arrow_type]
