"""Raw tables of a Spark warehouse: Parquet files, and a list that names their folders. A load needs no Spark.

Each load lays out a folder of its own: links to the files that stay, and the files of its new rows. Then it replaces
the list in one step. So a load costs what is new, and a build reads what the list said when it began.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.base import BATCH_ROWS, RAW_SCHEMA, SCHEMA, RawRows, RawTables
from warehouse.contract import Column
from warehouse.duckdb import checked_memory, failure, identifier, raw_name
from warehouse.errors import FunneliftError
from warehouse.raw_files import RawFiles, schema_of, writer

PLACES, LIST, LOCK = "raw", "raw_tables.json", "raw_tables.lock"
# Of a table without rows: its only file.
EMPTY = "empty.parquet"
# Smaller files of a table become one with its new rows: Spark opens each.
SMALL_ROWS = 100_000
# What an older version kept its loads in, and its mark that the list has all of them.
OLD_LOADS, OLD_MARK = "loads.duckdb", "raw_tables_are_copied"
PIECE = "funnelift_piece"
T = TypeVar("T")


@contextmanager
def loading(
    folder: Path, tables: Mapping[str, Sequence[Column]], memory_limit: str, *, has_marts: bool
) -> Iterator[RawTables]:
    """Open the raw tables of a folder for one load.

    Parameters
    ----------
    folder : Path
        The warehouse's folder.
    tables : mapping of str to sequence of Column
        The raw tables.
    memory_limit : str
        What queries over them may hold in memory, such as 1GB.
    has_marts : bool
        Whether queries may ask for what builds have made, too.

    Yields
    ------
    RawTables
        The raw tables; readers see what became of them when the block has ended without an exception.

    Raises
    ------
    FunneliftError
        Another load is at work, or an older version left one half done.
    """
    if (folder / OLD_LOADS).exists() and not (folder / OLD_MARK).exists():
        raise FunneliftError(
            f"{folder}: a load of an older version died before its rows were copied out of {OLD_LOADS}: run "
            "`python -m ingest loads` with that version, which copies them, then run again"
        )
    memory_limit = checked_memory(memory_limit)
    with (folder / LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FunneliftError(
                f"the raw tables of {folder} are in use by another program: wait for the other load, then run again"
            ) from None
        place = folder / PLACES / uuid4().hex
        settings = {"memory_limit": memory_limit, "temp_directory": str(_scratch(place))}
        try:
            with closing(duckdb.connect(config={"preserve_insertion_order": "false", **settings})) as connection:
                raw = SparkRawTables(place, connection, tables)
                if has_marts:
                    _show_marts(folder, connection)
                yield raw
                raw.finish()
        except duckdb.Error as error:
            raise failure(folder, error, memory_limit) from error
        finally:
            shutil.rmtree(_scratch(place), ignore_errors=True)


class SparkRawTables(RawTables):
    """The raw tables of one load. DuckDB, in memory, answers queries over their files."""

    def __init__(
        self, place: Path, connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Sequence[Column]]
    ) -> None:
        self._place, self._connection, self._tables = place, connection, tables
        self._folder = place.parent.parent
        self._new = RawFiles(tables, _scratch(place))
        self._listed = self._read_list()
        self._changed: set[str] = set()
        self._files = {table: self._files_of(table) for table in tables}
        connection.execute("set enable_progress_bar = false")
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"create schema {RAW_SCHEMA}")
        # Of these, queries do not see the files of now: most loads ask about the small tables alone.
        self._unseen = set(tables)

    @property
    def has_workers(self) -> bool:
        """See RawTables; a cluster has them."""
        return not os.environ.get("FUNNELIFT_SPARK_MASTER", "local").startswith("local")

    def distinct(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """See RawTables."""
        return self.query(f"select distinct {', '.join(map(identifier, columns))} from {raw_name(table)}")

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """See RawTables."""
        self._see(sql)
        return self._connection.execute(sql, list(values)).fetchall()

    def append(self, table: str, rows: pa.Table, **constants: str | int) -> int:
        """See RawRows."""
        return self._new.append(table, rows, **constants)

    def fill(self, table: str, query: str, values: Sequence[object]) -> int:
        """See RawTables."""
        self._see(query)
        return self._fill(table, query, values)

    def delete(self, table: str, condition: str, values: Sequence[object]) -> int:
        """See RawTables; only files that have such rows are written anew."""
        self._see(condition)
        deleted, stay = 0, []
        for file in self._files[table]:
            self._show(table, [file])
            found = self._connection.execute(f"select count(*) from {PIECE} where {condition}", list(values)).fetchone()
            leaving = found[0] if found else 0
            deleted += leaving
            if not leaving:
                stay.append(file)
            elif leaving < pq.read_metadata(file).num_rows:
                self._fill(table, f"select * from {PIECE} where ({condition}) is not true", values)
        if deleted:
            self._keep(table, stay)
        self._settle()
        return deleted

    def clear(self) -> None:
        """See RawTables."""
        self._settle()
        for table in self._tables:
            self._keep(table, [])

    def each(self, make: Callable[[T, RawRows], T], items: Sequence[T]) -> Iterator[T]:
        """See RawTables; workers write the rows to files, which become the tables' in the order of the items."""
        if not self.has_workers:
            yield from super().each(make, items)
            return
        from warehouse.spark_session import on_workers

        scratch = _scratch(self._place)
        function = make.func if isinstance(make, partial) else make
        for made, files in on_workers(_Apart(make, self._tables, scratch), items, scratch, code_of=function):
            if isinstance(made, FunneliftError):
                raise made
            self._take(files)
            yield made

    def finish(self) -> None:
        """Lay out the files of all tables, then the list that names them; nothing where nothing has changed."""
        self._settle()
        columns = {table: ", ".join(map(_column, columns)) for table, columns in self._tables.items()}
        told = {table: text for table, (text, _) in self._listed.items()}
        before = {place.parent for _, place in self._listed.values()}
        is_here = all(place.parent == self._folder / PLACES for place in before)
        if not self._changed and told == columns and is_here:
            return
        for table in self._tables:
            self._lay_out(table)
        lines = [
            {"name": table, "columns": text, "location": str(self._place / table)} for table, text in columns.items()
        ]
        new = self._folder / f"{LIST}.new"
        with new.open("w", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._folder / LIST)
        for name in (OLD_LOADS, OLD_MARK):
            (self._folder / name).unlink(missing_ok=True)
        stay = {self._place.name, *(place.name for place in before)}
        for old in (self._folder / PLACES).iterdir():
            # A build that is at work reads those of before.
            if old.name not in stay:
                shutil.rmtree(old)

    def _read_list(self) -> dict[str, tuple[str, Path]]:
        """The columns and the folder of each table, as the list tells them to Spark."""
        path = self._folder / LIST
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        told = map(json.loads, lines)
        return {line["name"]: (line["columns"], Path(line["location"])) for line in told}

    def _files_of(self, table: str) -> list[Path]:
        """A table's files, in this folder even where it was moved since the list was written."""
        if table not in self._listed:
            return []
        place = self._folder / PLACES / self._listed[table][1].parent.name / table
        if not place.is_dir():
            raise FunneliftError(f"{self._folder / LIST} names the folder {place}, which is not there: restore it")
        return sorted(file for file in place.glob("*.parquet") if file.name != EMPTY)

    def _see(self, sql: str) -> None:
        """Let a query see the rows of now in the tables that it names."""
        self._settle()
        for table in [table for table in self._unseen if table in sql]:
            self._show(table)
            self._unseen.remove(table)

    def _settle(self) -> None:
        """Make files of the rows that were appended."""
        self._take(self._new.close())

    def _take(self, files: Mapping[str, Path]) -> None:
        for table, file in files.items():
            self._keep(table, [*self._files[table], file])

    def _keep(self, table: str, files: list[Path]) -> None:
        """Let these be a table's files."""
        self._files[table] = files
        self._changed.add(table)
        self._unseen.add(table)

    def _fill(self, table: str, query: str, values: Sequence[object]) -> int:
        names = [column.name for column in self._tables[table]]
        reader = self._connection.execute(query, list(values)).to_arrow_reader(BATCH_ROWS)
        return sum(self._new.append(table, pa.Table.from_batches([batch.rename_columns(names)])) for batch in reader)

    def _lay_out(self, table: str) -> None:
        """Give a table its folder in the new place."""
        if table in self._changed:
            self._join_small(table)
        place = self._place / table
        place.mkdir(parents=True)
        for file in self._files[table]:
            _link(file, place / file.name)
        if not self._files[table]:
            writer(place / EMPTY, schema_of(self._tables[table])).close()

    def _join_small(self, table: str) -> None:
        rows = {file: pq.read_metadata(file).num_rows for file in self._files[table]}
        small = [file for file in rows if rows[file] < SMALL_ROWS]
        if len(small) > 1:
            self._show(table, small)
            self._fill(table, f"select * from {PIECE}", [])
            self._keep(table, [file for file in rows if file not in small])
            self._settle()

    def _show(self, table: str, piece: Sequence[Path] | None = None) -> None:
        """Let queries see a table's files, or some of them as PIECE, in its columns and types."""
        files = self._files[table] if piece is None else piece
        found: Sequence[str] = ()
        source = f"files_of_{table}" if piece is None else f"files_of_{PIECE}"
        if files:
            relation = self._connection.from_parquet([str(file) for file in files], union_by_name=True)
            relation.create_view(source, replace=True)
            found = relation.columns
        cells = ", ".join(_cell(column, found) for column in self._tables[table])
        view = raw_name(table) if piece is None else PIECE
        origin = f"from {source}" if files else "where false"
        self._connection.execute(f"create or replace view {view} as select {cells} {origin}")


@dataclass(frozen=True)
class _Apart(Generic[T]):
    """Calls a function on a worker, for one item, with raw tables whose rows become files."""

    make: Callable[[T, RawRows], T]
    tables: Mapping[str, Sequence[Column]]
    folder: Path

    def __call__(self, item: T) -> tuple[T | FunneliftError, dict[str, Path]]:
        files = RawFiles(self.tables, self.folder)
        try:
            return self.make(item, files), files.close()
        except FunneliftError as error:
            return error, {}


def _show_marts(folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Let queries see what builds have made, but for what one takes away just now."""
    connection.execute(f"create schema {SCHEMA}")
    for place in sorted((folder / f"{SCHEMA}.db").glob("*")):
        with suppress(duckdb.Error):
            relation = connection.from_parquet([str(file) for file in place.glob("*.parquet")])
            relation.create_view(f"mart_{place.name}")
            connection.execute(
                f"create view {SCHEMA}.{identifier(place.name)} as from {identifier(f'mart_{place.name}')}"
            )


def _scratch(place: Path) -> Path:
    """Where files are written that a load needs, or may come to need."""
    return place.with_name(f"{place.name}.new")


def _link(file: Path, new: Path) -> None:
    try:
        new.hardlink_to(file)
    except OSError:
        # Not every file system has links.
        shutil.copyfile(file, new)


def _cell(column: Column, found: Sequence[str]) -> str:
    name = identifier(column.name)
    if column.name not in found:
        text = "null"
    elif column.data_type == "timestamp":
        text = f"{name} at time zone 'UTC'"
    else:
        text = name
    return f"cast({text} as {column.data_type}) as {name}"


def _column(column: Column) -> str:
    is_text = column.data_type == "text" or column.longest is not None
    return f"`{column.name}` {'string' if is_text else column.data_type}"
