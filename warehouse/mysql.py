"""The warehouse in a database of a MySQL or MariaDB server."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from warehouse.base import BATCH_ROWS, RAW_SCHEMA, SCHEMA, Among, Joined, Publication, RawTables, Warehouse
from warehouse.contract import Column
from warehouse.errors import FunneliftError, RepeatedKeyError, ServerError
from warehouse.mysql_client.arrow_reader import read_batches
from warehouse.mysql_client.backup import read_files, write_files
from warehouse.mysql_client.databases import provide_database
from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import Session, open_session
from warehouse.mysql_client.settings import Settings
from warehouse.raw_columns import copied, lacking
from warehouse.settings import LoadSettings, WarehouseSettings

if TYPE_CHECKING:
    import pyarrow as pa

LOCK, LOAD_LOCK, LOAD_LOCK_SECONDS = "funnelift.ml", "funnelift.load", 60
# A table is written beside the one it takes the place of.
NEW, OLD = "__new", "__old"
LOAD_ROWS = 100_000
REMOVED_AT_ONCE = 500
# Types that all engines share and the server calls otherwise; times keep their microseconds.
TYPES = {"integer": "int", "text": "mediumtext", "timestamp": "datetime(6)"}


class MySQLWarehouse(Warehouse):
    """A session that holds the lock of the modelling commands; no transaction stays open between calls."""

    settings_names = "FUNNELIFT_MYSQL_HOST, FUNNELIFT_MYSQL_PORT"
    swaps_together = True
    has_transactions = True
    has_primary_keys = True

    def __init__(self, settings: Settings, lock_wait_seconds: int, database: str = SCHEMA) -> None:
        self._settings = settings
        self._lock_wait_seconds = lock_wait_seconds
        self._database = database
        self._connect()

    @classmethod
    @contextmanager
    def open(cls, settings: WarehouseSettings) -> Iterator[Self]:
        """See Warehouse; the server is the one that FUNNELIFT_MYSQL_* name."""
        with closing(cls(Settings.from_environment(), settings.lock_wait_seconds)) as warehouse:
            yield warehouse

    @classmethod
    def provide(cls) -> None:
        """Make the database of marts and predictions on the server where it is missing.

        Raises
        ------
        ServerError
            It is missing and this user may not create it, or not every text fits it.
        """
        with closing(open_session(Settings.from_environment())) as session:
            provide_database(session, SCHEMA)

    @classmethod
    def begin_load(
        cls, settings: LoadSettings, tables: Mapping[str, Sequence[Column]], *, is_first: bool = True
    ) -> AbstractContextManager[RawTables]:
        """See Warehouse; makes the database where it is missing."""
        return _loading(Settings.from_environment(), tables, is_first)

    @classmethod
    def back_up(cls, settings: LoadSettings, folder: Path) -> None:
        """See Warehouse: no load, training or build works meanwhile, or the backup is refused."""
        with _alone() as session:
            write_files(session, folder)

    @classmethod
    def restore(cls, settings: LoadSettings, folder: Path, *, replace: bool) -> None:
        """See Warehouse: the tables are written beside the old ones and renamed by one statement."""
        with _alone(is_first=True) as session:
            read_files(session, folder, replace=replace)

    def columns(self, table: str, schema: str = SCHEMA) -> list[str]:
        """See Warehouse."""
        return list(self._column_types(table, self._in(schema)))

    def query(self, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """See Warehouse."""
        names, rows = self._session.named_rows(_marked(sql, values), values)
        # An open transaction would keep dbt from replacing the tables it has read.
        self._session.commit()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def read(
        self, table: str, columns: Sequence[str], among: Among | None = None, schema: str = SCHEMA
    ) -> tuple[int, Iterator["pa.RecordBatch"]]:
        """See Warehouse; decimals arrive as doubles."""
        database = self._in(schema)
        source = f"from {name(database, table)} as source"
        if among is not None:
            source += (
                f" inner join {self._name(among.table)} as among on source.{name(among.key)} = among.{name(among.key)}"
                f" where among.{name(among.number)} > {int(among.above)}"
            )
        ((rows,),) = self._session.rows(f"select count(*) {source}")
        chosen = ", ".join(self._chosen("source", table, columns, database))
        return int(rows), read_batches(self._session, f"select {chosen} {source}", f"{database}.{table}", BATCH_ROWS)

    def read_joined(self, table: str, columns: Sequence[str], other: Joined) -> Iterator["pa.RecordBatch"]:
        """See Warehouse; decimals arrive as doubles."""
        chosen = [*self._chosen("source", table, columns), *self._chosen("other", other.table, other.columns)]
        match = " and ".join(f"source.{name(column)} = other.{name(column)}" for column in other.key)
        values = ", ".join(f"'{value}'" for value in other.values)
        # The key of the larger table is looked up for the rows that are wanted, never the other way round.
        sql = (
            f"select straight_join {', '.join(chosen)} from {self._name(other.table)} as other "
            f"inner join {self._name(table)} as source on {match} where other.{name(other.where)} in ({values})"
        )
        return read_batches(self._session, sql, f"{self._database}.{table}", BATCH_ROWS)

    def publish(self, publications: Sequence[Publication]) -> None:
        """See Warehouse.

        Where no table is replaced, rows leave and come in one transaction. Otherwise each table is written anew beside
        the old one, with the old rows where it is added to, and all are renamed by one statement.
        """
        self._see_that_the_lock_stands(publications)
        present = {publication.name: self._column_types(publication.name) for publication in publications}
        for publication in publications:
            publication.check_columns(list(present[publication.name]))
        try:
            if all(self._has_room(publication, present[publication.name]) for publication in publications):
                self._insert(publications)
            else:
                self._swap(publications, present)
        except RepeatedKeyError as error:
            raise FunneliftError(f"nothing was published, a key is broken: {error}") from None

    def close(self) -> None:
        """Let the lock go and end the session."""
        self._resources.close()

    def _connect(self) -> None:
        with ExitStack() as stack:
            self._session = open_session(self._settings, local_infile=True)
            stack.callback(self._session.close)
            stack.enter_context(self._session.lock(LOCK, self._lock_wait_seconds, self._database))
            self._resources = stack.pop_all()

    def _in(self, schema: str) -> str:
        """The database that stands for a schema."""
        return self._database if schema == SCHEMA else schema

    def _chosen(self, alias: str, table: str, columns: Sequence[str], database: str | None = None) -> list[str]:
        types = self._column_types(table, database)
        # The server turns a decimal into the nearest double, and sends it in fewer bytes; Arrow may miss it by one.
        return [
            f"cast({alias}.{name(column)} as double) as {name(column)}"
            if types.get(column, "").startswith("decimal")
            else f"{alias}.{name(column)}"
            for column in columns
        ]

    def _column_types(self, table: str, database: str | None = None) -> dict[str, str]:
        found = self._session.rows(
            "select column_name, column_type from information_schema.columns "
            "where table_schema = %s and table_name = %s order by ordinal_position",
            [database or self._database, table],
        )
        self._session.commit()
        return {str(column): str(kind) for column, kind in found}

    def _see_that_the_lock_stands(self, publications: Sequence[Publication]) -> None:
        if self._session.ping():
            return
        if all(publication.append for publication in publications):
            raise FunneliftError(
                f"{self._settings.place}: the connection was lost, and with it the lock {LOCK}: another run may have "
                "replaced the tables since. Nothing was written: run the same command again"
            )
        self.close()
        self._connect()

    def _has_room(self, publication: Publication, present: dict[str, str]) -> bool:
        """Whether the table that is there has the contract's key and types, so that rows can just be added."""
        if not (publication.append and present):
            return False
        key = self._session.rows(
            "select column_name from information_schema.statistics "
            "where table_schema = %s and table_name = %s and index_name = 'PRIMARY' order by seq_in_index",
            [self._database, publication.name],
        )
        is_keyed = [str(column) for (column,) in key] == list(publication.key)
        wanted = {column.name: _type(column) for column in publication.contract.columns}
        return is_keyed and {column: _without_width(kind) for column, kind in present.items()} == wanted

    def _insert(self, publications: Sequence[Publication]) -> None:
        try:
            for publication in publications:
                self._remove(publication, publication.name)
                self._load(publication, publication.name)
            self._session.commit()
        except BaseException:
            self._session.rollback()
            raise

    def _swap(self, publications: Sequence[Publication], present: dict[str, dict[str, str]]) -> None:
        with _replacing(self._session, self._database, [publication.name for publication in publications]):
            for publication in publications:
                self._write(publication, present[publication.name])

    def _write(self, publication: Publication, present: dict[str, str]) -> None:
        contract, table = publication.contract, publication.name + NEW
        _create_table(
            self._session,
            self._name(table),
            contract.columns,
            key=contract.grain,
            description=contract.description,
        )
        if publication.append and present:
            listed = ", ".join(map(name, contract.column_names))
            self._session.execute(
                f"insert into {self._name(table)} ({listed}) select {listed} from {self._name(publication.name)}"
            )
            self._remove(publication, table)
        self._load(publication, table)
        self._session.commit()
        for column in contract.found_by:
            self._session.execute(f"alter table {self._name(table)} add index ({name(column)})")

    def _remove(self, publication: Publication, table: str) -> None:
        """Delete rows by their whole keys, some at a time: each statement reads those rows and no others."""
        if publication.removes is None:
            return
        keys = list(zip(*(publication.removes[column].to_pylist() for column in publication.key), strict=True))
        one = f"({' and '.join(f'{name(column)} = %s' for column in publication.key)})"
        for start in range(0, len(keys), REMOVED_AT_ONCE):
            some = keys[start : start + REMOVED_AT_ONCE]
            self._session.execute(
                f"delete from {self._name(table)} where {' or '.join([one] * len(some))}",
                [value for key in some for value in key],
            )

    def _load(self, publication: Publication, table: str) -> None:
        rows = publication.rows
        self._session.load(self._name(table), _in_key_order(rows, publication.key), rows.schema)

    def _name(self, table: str) -> str:
        return name(self._database, table)


class MySQLRawTables(RawTables):
    """Rows are added to the tables, or, once these are cleared, to new ones that are swapped in at the end."""

    def __init__(self, session: Session, tables: Mapping[str, Sequence[Column]], swap: ExitStack) -> None:
        self._session, self._tables, self._swap = session, tables, swap
        self._suffix = ""

    def create(self) -> None:
        """Make what the load needs where it is missing; all of it commits at once, so it comes first."""
        provide_database(self._session, RAW_SCHEMA)
        present = _tables(self._session, RAW_SCHEMA)
        leftovers = {table + end for table in self._tables for end in (NEW, OLD)}
        _drop(self._session, RAW_SCHEMA, sorted(present & leftovers))
        for table, columns in self._tables.items():
            if table not in present:
                _create_table(self._session, self._name(table), columns)
        self._add_columns()

    def _add_columns(self) -> None:
        """Write tables of an older version anew, all of them at one moment."""
        present = {table: self._session.columns(RAW_SCHEMA, table) for table in self._tables}
        if not (old := lacking(self._tables, present)):
            return
        with _replacing(self._session, RAW_SCHEMA, old):
            for table in old:
                new, columns = name(RAW_SCHEMA, table + NEW), self._tables[table]
                _create_table(self._session, new, columns)
                self._session.execute(f"insert into {new} {copied(columns, present, table, RAW_SCHEMA)}")
                self._session.commit()

    def distinct(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """See RawTables."""
        return self._session.rows(f"select distinct {', '.join(map(name, columns))} from {self._name(table)}")

    def append(self, table: str, rows: "pa.Table", **constants: str | int) -> int:
        """See RawTables."""
        import pyarrow as pa

        if not rows.num_rows:
            return 0
        nullable = {column.name: column.is_nullable for column in self._tables[table]}
        # What may be null and is so in every row need not travel.
        rows = rows.select([one for one in rows.column_names if not nullable[one] or rows[one].null_count < len(rows)])
        schema = pa.schema([field.with_nullable(nullable[field.name]) for field in rows.schema])
        return self._session.load(self._name(table), rows.cast(schema), constants=constants)

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """See RawTables."""
        return self._session.rows(_marked(sql, values), values)

    def fill(self, table: str, query: str, values: Sequence[object]) -> int:
        """See RawTables."""
        columns = ", ".join(name(column.name) for column in self._tables[table])
        return self._session.execute(f"insert into {self._name(table)} ({columns}) {_marked(query, values)}", values)

    def delete(self, table: str, condition: str, values: Sequence[object]) -> int:
        """See RawTables."""
        return self._session.execute(f"delete from {self._name(table)} where {_marked(condition, values)}", values)

    def clear(self) -> None:
        """See RawTables; deleting millions of rows takes minutes, so new tables are filled and swapped in."""
        self._swap.enter_context(_replacing(self._session, RAW_SCHEMA, list(self._tables)))
        self._suffix = NEW
        for table, columns in self._tables.items():
            _create_table(self._session, self._name(table), columns)

    def _name(self, table: str) -> str:
        return name(RAW_SCHEMA, table + self._suffix)


@contextmanager
def _loading(settings: Settings, tables: Mapping[str, Sequence[Column]], is_first: bool) -> Iterator[RawTables]:
    with (
        closing(open_session(settings, local_infile=True)) as session,
        _lock(session, LOAD_LOCK, RAW_SCHEMA, is_first=is_first),
        ExitStack() as swap,
    ):
        if not is_first and not _tables(session, RAW_SCHEMA):
            raise FunneliftError(f"{settings.place}: nothing is loaded there yet (FUNNELIFT_MYSQL_HOST, _PORT)")
        raw = MySQLRawTables(session, tables, swap)
        raw.create()
        try:
            yield raw
            session.commit()
        except BaseException:
            # Before anything is dropped, which would commit.
            session.rollback()
            raise


def _lock(session: Session, what: str, database: str, *, is_first: bool) -> AbstractContextManager[None]:
    # Two that come first meet in one database, so it is there before either asks for the lock.
    if is_first:
        provide_database(session, database)
    return session.lock(what, LOAD_LOCK_SECONDS, database)


@contextmanager
def _alone(*, is_first: bool = False) -> Iterator[Session]:
    """A session beside which no load and no training works."""
    with (
        closing(open_session(Settings.from_environment())) as session,
        _lock(session, LOAD_LOCK, RAW_SCHEMA, is_first=is_first),
        _lock(session, LOCK, SCHEMA, is_first=is_first),
    ):
        yield session


@contextmanager
def _replacing(session: Session, database: str, tables: Sequence[str]) -> Iterator[None]:
    """Let tables be written anew beside the old ones while the block runs, then rename them all by one statement.

    Readers see all the old tables until that statement, and all the new ones after it.
    """
    # What a run that was killed has left; whoever was killed while waiting for a table still holds the lock.
    _drop(session, database, [table + end for table in tables for end in (NEW, OLD)])
    try:
        yield
        present = _tables(session, database)
        moves = [
            f"{name(database, before)} to {name(database, after)}"
            for table in tables
            for before, after in ((table, table + OLD), (table + NEW, table))
            if before in present
        ]
        session.execute(f"rename table {', '.join(moves)}")
    except BaseException:
        with suppress(ServerError):
            _drop(session, database, [table + NEW for table in tables])
        raise
    # All is done by now: what cannot be dropped here is dropped by the next run.
    with suppress(ServerError):
        _drop(session, database, [table + OLD for table in tables])


def _tables(session: Session, database: str) -> set[str]:
    found = session.rows("select table_name from information_schema.tables where table_schema = %s", [database])
    return {table for (table,) in found}


def _drop(session: Session, database: str, tables: Collection[str]) -> None:
    if tables:
        session.execute(f"drop table if exists {', '.join(name(database, table) for table in tables)}")


def _create_table(
    session: Session, table: str, columns: Sequence[Column], *, key: Sequence[str] = (), description: str = ""
) -> None:
    listed = [
        f"{name(column.name)} {_type(column)} {'null' if column.is_nullable else 'not null'} comment %s"
        for column in columns
    ]
    listed += [f"primary key ({', '.join(map(name, key))})"] if key else []
    session.execute(
        f"create table {table} ({', '.join(listed)}) "
        f"engine = InnoDB default character set utf8mb4 collate {session.server.collation} comment = %s",
        [*(column.description for column in columns), description],
    )


def _type(column: Column) -> str:
    return TYPES.get(column.data_type, column.data_type)


def _marked(sql: str, values: Sequence[object]) -> str:
    """The driver's own mark for a value is %s, and then only where there are values."""
    return sql.replace("%", "%%").replace("?", "%s") if values else sql


def _without_width(kind: str) -> str:
    """MariaDB gives whole numbers a width for display, which means nothing."""
    return re.sub(r"^(int|bigint)\(\d+\)", r"\1", kind)


def _in_key_order(rows: "pa.Table", key: Sequence[str]) -> Iterator["pa.RecordBatch"]:
    """The rows in the order in which InnoDB keeps them: out of it, a large table takes half as long again to load."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = rows.unify_dictionaries()
    if not key:
        # A table of one row.
        yield from rows.combine_chunks().to_batches()
        return
    plain = {
        column: rows[column].cast(rows[column].type.value_type)
        if pa.types.is_dictionary(rows[column].type)
        else rows[column]
        for column in key
    }
    order = pc.sort_indices(pa.table(plain), [(column, "ascending") for column in key])
    for start in range(0, len(order), LOAD_ROWS):
        yield from rows.take(order.slice(start, LOAD_ROWS)).combine_chunks().to_batches()
