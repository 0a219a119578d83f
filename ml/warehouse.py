"""The only module that knows engines: reads relations as Arrow and publishes tables atomically."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml.config import Config, FunneliftError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SCHEMA = "funnelift"
BATCH_ROWS = 200_000
# DuckDB's index on a text key takes 200 bytes a row and more time than all else in a publication. Up to this many rows
# the key is a PRIMARY KEY; beyond, the check in the transaction enforces it alone.
INDEXED_ROWS = 1_000_000
RESERVED_STEMS = ("funnelift", "funnelift_raw")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Publication:
    """One table to write: its rows, its key, and whether they replace the table or are added to it.

    Fields of the Arrow schema that are not nullable become NOT NULL columns.
    """

    name: str
    rows: "pa.Table"
    key: tuple[str, ...]
    append: bool = False


class Warehouse:
    """An open warehouse. Use `open_warehouse`."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection") -> None:
        self._connection = connection

    def columns(self, table: str) -> list[str]:
        """Return a table's column names.

        Parameters
        ----------
        table : str
            Name in the schema funnelift.

        Returns
        -------
        list of str
            Names in the table's order; empty when there is no such table.
        """
        found = self._connection.execute(
            "select column_name from information_schema.columns where table_schema = ? and table_name = ? "
            "order by ordinal_position",
            [SCHEMA, table],
        ).fetchall()
        return [name for (name,) in found]

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Run a small query in the SQL that every engine shares.

        Parameters
        ----------
        sql : str
            A constant statement.
        parameters : sequence
            Values for its `?` marks.

        Returns
        -------
        list of dict
            One dict a row, column name to value.
        """
        result = self._connection.execute(sql, list(parameters))
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def read(
        self, table: str, columns: Sequence[str], not_in: tuple[str, Sequence[str]] | None = None
    ) -> tuple[int, Iterator["pa.RecordBatch"]]:
        """Read columns of a table as Arrow batches, in no particular order.

        Parameters
        ----------
        table : str
            Name in the schema funnelift.
        columns : sequence of str
            Columns to read.
        not_in : (str, sequence of str), optional
            Another table and key columns: rows whose key that table holds are left out.

        Returns
        -------
        int
            Number of rows that will come.
        iterator of pyarrow.RecordBatch
            The rows; one batch is in memory at a time.
        """
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
        """Write tables so that readers see all of them or none.

        Parameters
        ----------
        publications : sequence of Publication
            Tables to replace or to add to.

        Raises
        ------
        FunneliftError
            When a key repeats or is null, or a table to be added to has other columns; nothing is written then.
        """
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
        fields = list(publication.rows.schema)
        existing = self.columns(publication.name)
        if publication.append and existing and existing != [field.name for field in fields]:
            raise FunneliftError(
                f"{table} was written by another version (columns {', '.join(existing)}): "
                "rename or drop it, then run again"
            )
        if not (publication.append and existing):
            columns = ", ".join(
                f"{_identifier(field.name)} {_sql_type(field.type)}{'' if field.nullable else ' not null'}"
                for field in fields
            )
            indexed = f", primary key ({key})" if len(publication.rows) <= INDEXED_ROWS else ""
            self._connection.execute(f"drop table if exists {table}")
            self._connection.execute(f"create table {table} ({columns}{indexed})")
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
def open_warehouse(config: Config) -> Iterator[Warehouse]:
    """Open the warehouse for reading and writing, alone, until the block ends.

    Parameters
    ----------
    config : Config
        Target and place of the warehouse.

    Yields
    ------
    Warehouse
        The open warehouse.

    Raises
    ------
    FunneliftError
        When the target is unknown, the file is missing, badly named, locked by another program or not a DuckDB file.
    """
    import duckdb

    if config.target != "duckdb":
        raise FunneliftError(f"unknown target {config.target!r}: ml works on duckdb (--target, FUNNELIFT_TARGET)")
    path = config.duckdb_path
    if path.stem in RESERVED_STEMS:
        raise FunneliftError(
            f"the DuckDB file must not be called {path.name}: its catalog would be called like a schema. "
            "Rename it, e.g. to warehouse.duckdb (FUNNELIFT_DUCKDB_PATH)"
        )
    if not path.is_file():
        raise FunneliftError(f"no warehouse at {path}: run `python -m ingest load` and `dbt build` first")
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": config.duckdb_memory_limit,
        "threads": str(config.threads),
        "preserve_insertion_order": "false",
    }
    try:
        connection = duckdb.connect(path, config=settings)
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            raise FunneliftError(
                f"the warehouse {path} is in use by another program: close it there (a dbt run, a notebook, "
                f"a database viewer), then run again. DuckDB says: {error}"
            ) from None
        raise FunneliftError(f"cannot open {path} as a DuckDB file: {error}") from None
    try:
        yield Warehouse(connection)
    finally:
        connection.close()


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
