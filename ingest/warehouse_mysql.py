"""The raw tables in a database of a MySQL or MariaDB server."""

from contextlib import ExitStack, suppress
from dataclasses import astuple, fields, replace
from types import TracebackType
from typing import Self

import pyarrow as pa

from ingest.limits import FILE_CHARACTERS, ID_CHARACTERS, PROPERTY_CHARACTERS
from ingest.warehouse import RAW_TABLES, SCHEMA, LoadRow, Warehouse
from warehouse.errors import FunneliftError, ServerError
from warehouse.mysql_client.databases import provide_database
from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import Session, open_session
from warehouse.mysql_client.settings import Settings

LOCK, LOCK_SECONDS = "funnelift.load", 60
# A replacement is written beside the table it takes the place of.
NEW, OLD = "__new", "__old"

_TYPES = {
    "id": f"varchar({ID_CHARACTERS})",
    "word": "varchar(64)",
    "property": f"varchar({PROPERTY_CHARACTERS})",
    "text": "mediumtext",
    "file": f"varchar({FILE_CHARACTERS})",
    "price": "decimal(18, 4)",
    "number": "bigint",
    "flag": "boolean",
    "moment": "datetime(3)",
}


class MySQLWarehouse(Warehouse):
    """The raw database of one server; only one load at a time has it."""

    setting = "FUNNELIFT_MYSQL_HOST, FUNNELIFT_MYSQL_PORT"
    _session: Session

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __enter__(self) -> Self:
        self._suffix = ""
        try:
            with ExitStack() as stack:
                self._session = open_session(self._settings, local_infile=True)
                stack.callback(self._session.close)
                stack.enter_context(self._session.lock(LOCK, LOCK_SECONDS))
                self._prepare()
                self._resources = stack.pop_all()
        except ServerError as error:
            raise FunneliftError(str(error)) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._resources:
                try:
                    if error is None:
                        self._session.commit()
                        self._swap()
                finally:
                    self._undo()
        except ServerError as failure:
            raise FunneliftError(str(failure)) from failure
        if isinstance(error, ServerError):
            raise FunneliftError(str(error)) from error

    def loads(self) -> list[LoadRow]:
        """See Warehouse."""
        columns = ", ".join(name(field.name) for field in fields(LoadRow))
        rows = self._session.rows(f"select {columns} from {name(SCHEMA, 'raw_loads')}")
        loads = [LoadRow(*row) for row in rows]
        return [replace(load, is_synthetic=bool(load.is_synthetic)) for load in loads]

    def categories(self) -> set[str]:
        """See Warehouse."""
        rows = self._session.rows(f"select distinct categoryid from {self._table('raw_category_tree')}")
        return {category for (category,) in rows}

    def append(self, table: str, rows: pa.Table, **constants: str) -> int:
        """See Warehouse."""
        if not rows.num_rows:
            return 0
        nullable = {column.name: column.nullable for column in RAW_TABLES[table]}
        # What is null in every row need not travel.
        rows = rows.select([one for one in rows.column_names if rows[one].null_count < rows.num_rows])
        schema = pa.schema([field.with_nullable(nullable[field.name]) for field in rows.schema])
        return self._session.load(self._table(table), rows.cast(schema), constants=constants)

    def record(self, load: LoadRow) -> None:
        """See Warehouse."""
        values = astuple(load)
        marks = ", ".join("%s" for _ in values)
        self._session.execute(f"insert into {self._table('raw_loads')} values ({marks})", values)

    def clear(self) -> None:
        """See Warehouse; deleting millions of rows takes minutes, so new tables are filled and swapped in."""
        self._suffix = NEW
        for table in RAW_TABLES:
            self._create(table + NEW, table)

    def _table(self, table: str) -> str:
        return name(SCHEMA, table + self._suffix)

    def _prepare(self) -> None:
        """What the load needs, made where it is missing; all of it commits at once, so it comes first."""
        provide_database(self._session, SCHEMA)
        found = self._session.rows("select table_name from information_schema.tables where table_schema = %s", [SCHEMA])
        present = {table for (table,) in found}
        self._drop([table + end for table in RAW_TABLES for end in (NEW, OLD) if table + end in present])
        for table in RAW_TABLES:
            if table not in present:
                self._create(table, table)

    def _create(self, table: str, like: str) -> None:
        columns = ", ".join(
            f"{name(column.name)} {_TYPES[column.kind]}{'' if column.nullable else ' not null'}"
            for column in RAW_TABLES[like]
        )
        self._session.execute(
            f"create table {name(SCHEMA, table)} ({columns}) "
            f"engine = InnoDB default character set utf8mb4 collate {self._session.server.collation}"
        )

    def _swap(self) -> None:
        """Readers see all the old tables until this one statement, and all the new ones after it."""
        if not self._suffix:
            return
        moves = []
        for table in RAW_TABLES:
            moves.append(f"{name(SCHEMA, table)} to {name(SCHEMA, table + OLD)}")
            moves.append(f"{name(SCHEMA, table + NEW)} to {name(SCHEMA, table)}")
        self._session.execute(f"rename table {', '.join(moves)}")
        self._suffix = ""
        # The load is done by now: what cannot be dropped here is dropped by the next one.
        with suppress(ServerError):
            self._drop([table + OLD for table in RAW_TABLES])

    def _undo(self) -> None:
        """After a success there is nothing left to undo."""
        self._session.rollback()
        if self._suffix:
            with suppress(ServerError):
                self._drop([table + NEW for table in RAW_TABLES])

    def _drop(self, tables: list[str]) -> None:
        if tables:
            self._session.execute(f"drop table {', '.join(name(SCHEMA, table) for table in tables)}")
