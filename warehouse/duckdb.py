"""The warehouse in a DuckDB file."""

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from warehouse.base import BATCH_ROWS, RAW_SCHEMA, SCHEMA, Among, Joined, Publication, RawTables, Warehouse
from warehouse.contract import Column
from warehouse.errors import FunneliftError, UsageError
from warehouse.raw_columns import copied, lacking
from warehouse.settings import LoadSettings, WarehouseSettings

if TYPE_CHECKING:
    import pyarrow as pa

# DuckDB's index on a text key takes 200 bytes a row and more time than all else in a publication. Up to this many rows
# the key is a PRIMARY KEY; beyond, the check in the transaction enforces it alone.
INDEXED_ROWS = 1_000_000
RETRY_SECONDS = 0.1
# A raw table is written beside the one it takes the place of.
NEW = "__new"
BACKUP = "warehouse.duckdb"
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MEMORY = re.compile(r"[0-9]+(\.[0-9]+)? ?[KMGT](i?B)?", re.IGNORECASE)


class FileInUseError(FunneliftError):
    """Another program has the file open."""


class DuckDBWarehouse(Warehouse):
    """A connection to the file, which nobody else can open meanwhile."""

    settings_names = "FUNNELIFT_DUCKDB_PATH"
    swaps_together = True
    has_transactions = True
    has_primary_keys = True

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, settings: WarehouseSettings) -> Iterator[Self]:
        """See Warehouse; waits for whoever has the file open."""
        path = settings.duckdb_path
        _check_name(path)
        if not path.is_file():
            raise FunneliftError(f"no warehouse at {path}: run `python -m ingest load` and `dbt build` first")
        options = {"memory_limit": settings.duckdb_memory_limit, "threads": str(settings.threads)}
        with closing(_connect(path, options, settings.lock_wait_seconds)) as connection:
            try:
                yield cls(connection)
            except duckdb.Error as error:
                raise FunneliftError(f"{path}: the warehouse failed: {error}") from error

    @classmethod
    def begin_load(
        cls, settings: LoadSettings, tables: Mapping[str, Sequence[Column]], *, is_first: bool = True
    ) -> AbstractContextManager[RawTables]:
        """See Warehouse; makes the file where it is missing."""
        path = settings.duckdb_path
        _check_name(path)
        if not path.parent.is_dir():
            raise UsageError(f"FUNNELIFT_DUCKDB_PATH: the folder {path.parent} does not exist")
        if not is_first and not path.is_file():
            raise FunneliftError(f"no warehouse at {path} (FUNNELIFT_DUCKDB_PATH): nothing is loaded yet")
        return cls._loading(path, tables, settings.duckdb_memory_limit)

    @classmethod
    @contextmanager
    def _loading(cls, path: Path, tables: Mapping[str, Sequence[Column]], memory_limit: str) -> Iterator[RawTables]:
        # Without a limit DuckDB keeps what it has written until most of the machine's memory is full.
        with closing(_connect(path, {"memory_limit": checked_memory(memory_limit)})) as connection:
            try:
                connection.execute("set enable_progress_bar = false")
                # The other half checks lines meanwhile. Each thread packs rows of its own, the last of them twice.
                connection.execute(f"set threads = {max((os.cpu_count() or 2) // 2, 1)}")
                connection.execute("begin")
                raw = DuckDBRawTables(connection, tables)
                raw.create()
                yield raw
                connection.execute("commit")
            except duckdb.Error as error:
                raise failure(path, error, memory_limit) from error

    @classmethod
    def back_up(cls, settings: LoadSettings, folder: Path) -> None:
        """See Warehouse: a copy of the file, which nobody can write to meanwhile."""
        path = settings.duckdb_path
        if not path.is_file():
            raise FunneliftError(f"no warehouse at {path} (FUNNELIFT_DUCKDB_PATH): there is nothing to back up")
        with closing(_connect(path, {})) as connection:
            # What a killed run has left in the log beside the file goes into it.
            connection.execute("checkpoint")
            shutil.copyfile(path, folder / BACKUP)

    @classmethod
    def restore(cls, settings: LoadSettings, folder: Path, *, replace: bool) -> None:
        """See Warehouse: the copy takes the file's place by one rename."""
        path = settings.duckdb_path
        _check_name(path)
        if not path.parent.is_dir():
            raise UsageError(f"FUNNELIFT_DUCKDB_PATH: the folder {path.parent} does not exist")
        if path.exists() and not replace:
            raise FunneliftError(f"there is a warehouse at {path} already: --replace puts the backup in its place")
        new = path.with_name(f"{path.name}.restoring")
        shutil.copyfile(folder / BACKUP, new)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        with ExitStack() as stack:
            try:
                if path.exists():
                    # Nobody else has it until the block ends, and its log goes into it.
                    stack.enter_context(closing(_connect(path, {}))).execute("checkpoint")
            except FileInUseError:
                new.unlink()
                raise
            except (FunneliftError, duckdb.Error):
                # It cannot be opened, which may be why there is a restore; its log must not join the backup.
                path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
            new.replace(path)

    def columns(self, table: str, schema: str = SCHEMA) -> list[str]:
        """See Warehouse."""
        found = self._connection.execute(
            "select column_name from information_schema.columns where table_schema = ? and table_name = ? "
            "order by ordinal_position",
            [schema, table],
        ).fetchall()
        return [name for (name,) in found]

    def query(self, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """See Warehouse."""
        result = self._connection.execute(sql, list(values))
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def read(
        self, table: str, columns: Sequence[str], among: Among | None = None, schema: str = SCHEMA
    ) -> tuple[int, Iterator["pa.RecordBatch"]]:
        """See Warehouse."""
        source = f"from {identifier(schema)}.{identifier(table)} as source"
        if among is not None:
            key, number = identifier(among.key), identifier(among.number)
            source += (
                f" inner join {SCHEMA}.{identifier(among.table)} as among on source.{key} = among.{key}"
                f" where among.{number} > {int(among.above)}"
            )
        (rows,) = self._connection.execute(f"select count(*) {source}").fetchone() or (0,)
        chosen = ", ".join(f"source.{identifier(name)}" for name in columns)
        reader = self._connection.execute(f"select {chosen} {source}").to_arrow_reader(BATCH_ROWS)
        return int(rows), iter(reader)

    def read_joined(self, table: str, columns: Sequence[str], other: Joined) -> Iterator["pa.RecordBatch"]:
        """See Warehouse."""
        chosen = [f"source.{identifier(name)}" for name in columns]
        chosen += [f"other.{identifier(name)}" for name in other.columns]
        match = " and ".join(f"source.{identifier(name)} = other.{identifier(name)}" for name in other.key)
        reader = self._connection.execute(
            f"select {', '.join(chosen)} from {SCHEMA}.{identifier(other.table)} as other "
            f"inner join {SCHEMA}.{identifier(table)} as source on {match} "
            f"where other.{identifier(other.where)} in ({', '.join('?' for _ in other.values)})",
            list(other.values),
        ).to_arrow_reader(BATCH_ROWS)
        return iter(reader)

    def publish(self, publications: Sequence[Publication]) -> None:
        """See Warehouse; all in one transaction."""
        self._connection.execute("begin")
        try:
            for publication in publications:
                self._write(publication)
            self._connection.execute("commit")
        except BaseException as error:
            # A fault of the disk has ended the transaction already.
            with suppress(duckdb.TransactionException):
                self._connection.execute("rollback")
            if isinstance(error, duckdb.ConstraintException):
                raise FunneliftError(f"nothing was published, a key is broken: {error}") from None
            raise

    def _write(self, publication: Publication) -> None:
        # DuckDB's transactions cover DDL, so other connections see the old tables until the commit.
        table = f"{SCHEMA}.{identifier(publication.name)}"
        key = ", ".join(map(identifier, publication.key))
        existing = self.columns(publication.name)
        publication.check_columns(existing)
        is_new, is_indexed = not (publication.append and existing), len(publication.rows) <= INDEXED_ROWS
        if is_new:
            columns = ", ".join(map(_column, publication.contract.columns))
            indexed = f", primary key ({key})" if is_indexed else ""
            self._connection.execute(f"drop table if exists {table}")
            self._connection.execute(f"create table {table} ({columns}{indexed})")
            self._connection.execute(f"comment on table {table} is {_text(publication.contract.description)}")
            for column in publication.contract.columns:
                place = f"{table}.{identifier(column.name)}"
                self._connection.execute(f"comment on column {place} is {_text(column.description)}")
        if publication.removes is not None and existing:
            with self._registered("removed_keys", publication.removes):
                match = " and ".join(
                    f"{table}.{column} = removed_keys.{column}" for column in map(identifier, publication.key)
                )
                self._connection.execute(f"delete from {table} using removed_keys where {match}")
        with self._registered("published_rows", publication.rows):
            self._connection.execute(f"insert into {table} select * from published_rows")
            # Rows that were there and stay were checked when they came in; a primary key checks for itself.
            new = "" if is_new else f" semi join published_rows using ({key})"
            repeated = (
                (0,)
                if is_new and is_indexed
                else self._connection.execute(
                    f"select count(*) from (select 1 from {table}{new} group by {key} having count(*) > 1)"
                ).fetchone()
            )
        if repeated and repeated[0]:
            raise FunneliftError(f"nothing was published, a key is broken: {repeated[0]} keys of {table} repeat")

    @contextmanager
    def _registered(self, name: str, rows: "pa.Table") -> Iterator[None]:
        self._connection.register(name, rows)
        try:
            yield
        finally:
            self._connection.unregister(name)


class DuckDBRawTables(RawTables):
    """The raw schema of one DuckDB file, in a transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Sequence[Column]]) -> None:
        self._connection, self._tables = connection, tables
        self._columns = {table: ", ".join(map(_column, columns)) for table, columns in tables.items()}

    def create(self) -> None:
        """Make what is missing, tables and columns."""
        self._connection.execute(f"create schema if not exists {RAW_SCHEMA}")
        for table, columns in self._columns.items():
            self._connection.execute(f"create table if not exists {raw_name(table)} ({columns})")
        found = self._connection.execute(
            "select table_name, column_name from duckdb_columns() where schema_name = ? and database_name = "
            "current_database() order by column_index",
            [RAW_SCHEMA],
        ).fetchall()
        present: dict[str, list[str]] = {}
        for table, column in found:
            present.setdefault(table, []).append(column)
        old = lacking(self._tables, present)
        # All are filled before one takes its place: rows get their numbers from the old raw_loads.
        for table in old:
            self._connection.execute(f"create table {raw_name(table + NEW)} ({self._columns[table]})")
            rows = copied(self._tables[table], present, table, RAW_SCHEMA)
            self._connection.execute(f"insert into {raw_name(table + NEW)} {rows}")
        for table in old:
            self._connection.execute(f"drop table {raw_name(table)}")
            self._connection.execute(f"alter table {raw_name(table + NEW)} rename to {identifier(table)}")

    def distinct(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """See RawTables."""
        chosen = ", ".join(map(identifier, columns))
        return self._connection.execute(f"select distinct {chosen} from {raw_name(table)}").fetchall()

    def append(self, table: str, rows: "pa.Table", **constants: str | int) -> int:
        """See RawTables."""
        if not rows.num_rows:
            return 0
        funnelift_incoming = rows  # noqa: F841
        extra = "".join(f", ${name} as {identifier(name)}" for name in constants)
        # DuckDB finds the variable by its name. Registering it instead keeps every block in memory until the commit.
        written = self._connection.execute(
            f"insert into {raw_name(table)} by name select *{extra} from funnelift_incoming", constants
        ).fetchone()
        return int(written[0]) if written else 0

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """See RawTables."""
        return self._connection.execute(sql, list(values)).fetchall()

    def fill(self, table: str, query: str, values: Sequence[object]) -> int:
        """See RawTables."""
        columns = ", ".join(identifier(column.name) for column in self._tables[table])
        added = self._connection.execute(f"insert into {raw_name(table)} ({columns}) {query}", list(values)).fetchone()
        return int(added[0]) if added else 0

    def delete(self, table: str, condition: str, values: Sequence[object]) -> int:
        """See RawTables."""
        deleted = self._connection.execute(f"delete from {raw_name(table)} where {condition}", list(values)).fetchone()
        return int(deleted[0]) if deleted else 0

    def clear(self) -> None:
        """See RawTables."""
        for table, columns in self._columns.items():
            self._connection.execute(f"create or replace table {raw_name(table)} ({columns})")


def _check_name(path: Path) -> None:
    if path.stem in (SCHEMA, RAW_SCHEMA):
        raise UsageError(
            f"the DuckDB file must not be called {path.name}: DuckDB names the catalog after the file, and "
            f"{path.stem}.sessions would have two meanings. Rename it, e.g. to warehouse.duckdb (FUNNELIFT_DUCKDB_PATH)"
        )
    if set(path.stem) & {"'", '"'}:
        raise UsageError(f"the DuckDB file must have no quote in its name, as {path.name} has (FUNNELIFT_DUCKDB_PATH)")


def _connect(path: Path, options: Mapping[str, str], wait_seconds: int | None = None) -> duckdb.DuckDBPyConnection:
    # The order of rows carries nothing here, and keeping it costs half the speed.
    config: dict[str, str | bool | int | float | list[str]] = {"preserve_insertion_order": "false", **options}
    deadline = time.monotonic() + (wait_seconds or 0)
    while True:
        try:
            return duckdb.connect(path, config=config)
        except duckdb.Error as error:
            if "could not set lock" not in str(error).lower():
                raise FunneliftError(f"cannot open {path} as a DuckDB file: {error}") from None
            if time.monotonic() >= deadline:
                waited = f", which did not finish within {wait_seconds} s (lock_wait_seconds)"
                raise FileInUseError(
                    f"the warehouse {path} is in use by another program{'' if wait_seconds is None else waited}: wait "
                    "for it (another load or training, a dbt run) or close it (a notebook, a database viewer), then "
                    f"run again. DuckDB says: {error}"
                ) from None
        time.sleep(RETRY_SECONDS)


def checked_memory(limit: str) -> str:
    """Return what DuckDB may hold in memory, such as 1GB; raises UsageError where it is no amount."""
    if not MEMORY.fullmatch(limit):
        raise UsageError(f"FUNNELIFT_DUCKDB_MEMORY: {limit!r} is no amount of memory such as 2GB or 800MB")
    return limit


def failure(place: Path, error: duckdb.Error, memory_limit: str) -> FunneliftError:
    """Return what to raise where a load fails in DuckDB; the message names the setting where memory is lacking."""
    # A commit that lacks memory is an error of the transaction.
    lacks_memory = isinstance(error, duckdb.OutOfMemoryException) or "failed to pin block" in str(error)
    cure = f"; FUNNELIFT_DUCKDB_MEMORY (now {memory_limit}) allows more" if lacks_memory else ""
    return FunneliftError(f"{place}: the warehouse failed: {error}{cure}")


def raw_name(table: str) -> str:
    """Return a raw table's name with its schema; raises FunneliftError where it is no name."""
    return f"{RAW_SCHEMA}.{identifier(table)}"


def _column(column: Column) -> str:
    # DuckDB's names of the types are those that all engines share.
    return f"{identifier(column.name)} {column.data_type}{'' if column.is_nullable else ' not null'}"


def identifier(name: str) -> str:
    """Return a name as SQL has it; raises FunneliftError where it is none of a table or column."""
    if not IDENTIFIER.fullmatch(name):
        raise FunneliftError(f"{name!r} is not a usable table or column name: letters, digits and underscores only")
    return f'"{name}"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
