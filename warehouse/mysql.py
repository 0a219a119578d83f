"""The warehouse in a database of a MySQL or MariaDB server."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from warehouse.base import BATCH_ROWS, SCHEMA, Publication, Warehouse
from warehouse.errors import FunneliftError, RepeatedKeyError, ServerError
from warehouse.mysql_client.names import name
from warehouse.mysql_client.relay import Relay
from warehouse.mysql_client.session import SESSION_SQL, connectorx_url, open_session
from warehouse.mysql_client.settings import Settings
from warehouse.settings import WarehouseSettings

if TYPE_CHECKING:
    import pyarrow as pa

LOCK = "funnelift.ml"
# A table is written beside the one it takes the place of.
NEW, OLD = "__new", "__old"
LOAD_ROWS = 100_000
STDERR = 2
KEY_TYPE = "varchar(255)"
# Types of other texts, narrowest first, and the characters each has room for. Both servers group by texts of up to 512
# characters in memory; MariaDB takes a wider one to disk. Power BI reads all of them as text.
TEXT_TYPES = {"varchar(255)": 255, "varchar(512)": 512, "text": 16_383, "mediumtext": 4_194_303}


class MySQLWarehouse(Warehouse):
    """A session that holds the lock of the modelling commands; no transaction stays open between calls."""

    def __init__(self, settings: Settings, lock_wait_seconds: int, database: str = SCHEMA) -> None:
        self._settings = settings
        self._lock_wait_seconds = lock_wait_seconds
        self._database = database
        self._connect()

    def columns(self, table: str) -> list[str]:
        """See Warehouse."""
        return list(self._column_types(table))

    def query(self, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """See Warehouse."""
        # The driver's own mark is %s, and then only where there are values.
        marked = sql.replace("%", "%%").replace("?", "%s") if values else sql
        with _plain_errors():
            names, rows = self._session.named_rows(marked, values)
            # An open transaction would keep dbt from replacing the tables it has read.
            self._session.commit()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def read(
        self, table: str, columns: Sequence[str], not_in: tuple[str, Sequence[str]] | None = None
    ) -> tuple[int, Iterator["pa.RecordBatch"]]:
        """See Warehouse; decimals arrive as doubles."""
        with _plain_errors():
            source = f"from {self._name(table)} as source"
            if not_in is not None:
                other, key = not_in
                match = " and ".join(f"source.{name(column)} = other.{name(column)}" for column in key)
                source += f" where not exists (select 1 from {self._name(other)} as other where {match})"
            ((rows,),) = self._session.rows(f"select count(*) {source}")
            types = self._column_types(table)
            # The server turns a decimal into the nearest double, and sends it in fewer bytes; Arrow may miss it by one.
            chosen = ", ".join(
                f"cast(source.{name(column)} as double) as {name(column)}"
                if types.get(column, "").startswith("decimal")
                else f"source.{name(column)}"
                for column in columns
            )
        return int(rows), self._batches(table, f"select {chosen} {source}")

    def publish(self, publications: Sequence[Publication]) -> None:
        """See Warehouse.

        Tables that are only added to take the rows in one transaction. Otherwise each table is written anew beside the
        old one, with the old rows where it is added to, and all are renamed by one statement.
        """
        with _plain_errors():
            self._see_that_the_lock_stands(publications)
            present = {publication.name: self._column_types(publication.name) for publication in publications}
            for publication in publications:
                publication.check_columns(list(present[publication.name]))
                _check_nulls(publication)
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
            stack.enter_context(self._session.lock(LOCK, self._lock_wait_seconds))
            self._resources = stack.pop_all()

    def _column_types(self, table: str) -> dict[str, str]:
        with _plain_errors():
            found = self._session.rows(
                "select column_name, column_type from information_schema.columns "
                "where table_schema = %s and table_name = %s order by ordinal_position",
                [self._database, table],
            )
            self._session.commit()
        return {str(column): str(kind) for column, kind in found}

    def _batches(self, table: str, sql: str) -> Iterator["pa.RecordBatch"]:
        # Read when it is imported: after a failure its pool goes on logging from a thread of its own.
        os.environ.setdefault("RUST_LOG", "off")
        import connectorx

        host, port = self._settings.host, self._settings.port
        # A certificate is compared with the name by which the server is reached, so then there is no other way to it.
        is_direct = self._settings.ssl_mode == "verify_identity"
        with nullcontext() if is_direct else closing(Relay(host, port)) as relay:
            flow = relay.opened if relay else nullcontext
            with self._told(table), flow():
                reader: Any = connectorx.read_sql(
                    connectorx_url(self._session, relay.host, relay.port) if relay else connectorx_url(self._session),
                    sql,
                    return_type="arrow_stream",
                    protocol="binary",
                    batch_size=BATCH_ROWS,
                    pre_execution_query=SESSION_SQL,
                )
            while True:
                with self._told(table), flow():
                    batch = next(reader, None)
                if batch is None:
                    return
                yield batch

    @contextmanager
    def _told(self, table: str) -> Iterator[None]:
        """Turn connectorx's errors into ones that say what to do."""
        try:
            with _set_aside():
                yield
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # where connectorx panics it raises no Exception
            text = str(error)
            for secret in filter(None, (self._settings.password, quote(self._settings.password, safe=""))):
                text = text.replace(secret, "***")
            with _plain_errors():
                self._session.rows("select 1")
            raise FunneliftError(
                f"{self._settings.place}: the connection was lost while {self._database}.{table} was read ({text}). "
                "Nothing was written: run the same command again"
            ) from None

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
        """Whether the rows can go into the table as it stands."""
        if not (publication.append and present):
            return False
        key = self._session.rows(
            "select column_name from information_schema.statistics "
            "where table_schema = %s and table_name = %s and index_name = 'PRIMARY' order by seq_in_index",
            [self._database, publication.name],
        )
        texts = {column: kind for column, kind in _types(publication, present).items() if kind in TEXT_TYPES}
        return [str(column) for (column,) in key] == list(publication.key) and texts.items() <= present.items()

    def _insert(self, publications: Sequence[Publication]) -> None:
        try:
            for publication in publications:
                self._load(publication, publication.name)
            self._session.commit()
        except BaseException:
            self._session.rollback()
            raise

    def _swap(self, publications: Sequence[Publication], present: dict[str, dict[str, str]]) -> None:
        tables = [publication.name for publication in publications]
        # What a run that was killed has left; whoever was killed while waiting for a table still holds the lock.
        self._drop([table + end for table in tables for end in (NEW, OLD)])
        try:
            for publication in publications:
                self._write(publication, present[publication.name])
            moves = [
                f"{self._name(before)} to {self._name(after)}"
                for table in tables
                for before, after in ((table, table + OLD), (table + NEW, table))
                if before != table or present[table]
            ]
            # Readers see all the old tables until this one statement, and all the new ones after it.
            self._session.execute(f"rename table {', '.join(moves)}")
        except BaseException:
            with suppress(ServerError):
                self._drop([table + NEW for table in tables])
            raise
        # All is published by now: what cannot be dropped here is dropped by the next run.
        with suppress(ServerError):
            self._drop([table + OLD for table in tables])

    def _write(self, publication: Publication, present: dict[str, str]) -> None:
        types = _types(publication, present if publication.append else {})
        columns = ", ".join(
            f"{name(field.name)} {types[field.name]} {'null' if field.nullable else 'not null'}"
            for field in publication.rows.schema
        )
        table = publication.name + NEW
        self._session.execute(
            f"create table {self._name(table)} ({columns}, primary key ({', '.join(map(name, publication.key))})) "
            f"engine = InnoDB default character set utf8mb4 collate {self._session.server.collation} comment = %s",
            [publication.description],
        )
        if publication.append and present:
            listed = ", ".join(map(name, types))
            self._session.execute(
                f"insert into {self._name(table)} ({listed}) select {listed} from {self._name(publication.name)}"
            )
        self._load(publication, table)
        self._session.commit()

    def _load(self, publication: Publication, table: str) -> None:
        rows = publication.rows
        self._session.load(self._name(table), _in_key_order(rows, publication.key), rows.schema)

    def _name(self, table: str) -> str:
        return name(self._database, table)

    def _drop(self, tables: Sequence[str]) -> None:
        self._session.execute(f"drop table if exists {', '.join(self._name(table) for table in tables)}")


@contextmanager
def open_mysql(settings: WarehouseSettings) -> Iterator[MySQLWarehouse]:
    """Connect to the server that FUNNELIFT_MYSQL_* name and hold the lock of the modelling commands.

    Parameters
    ----------
    settings : WarehouseSettings
        How long to wait for another run.

    Yields
    ------
    MySQLWarehouse
        The open warehouse.

    Raises
    ------
    FunneliftError
        When the server cannot be used, or another run has the lock.
    """
    with _plain_errors():
        warehouse = MySQLWarehouse(Settings.from_environment(), settings.lock_wait_seconds)
    with closing(warehouse):
        yield warehouse


@contextmanager
def _set_aside() -> Iterator[None]:
    """Keep what is written to stderr while the block runs until its end, and for good if it fails.

    Before it raises, connectorx prints its panics and attempts there, which say nothing to a user.
    """
    sys.stderr.flush()
    screen = os.dup(STDERR)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), STDERR)
        try:
            yield
            sys.stderr.flush()
            written.seek(0)
            os.write(screen, written.read())
        finally:
            os.dup2(screen, STDERR)
            os.close(screen)


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except ServerError as error:
        raise FunneliftError(str(error)) from None


def _check_nulls(publication: Publication) -> None:
    """Refuse nulls where none may be: in a file that is loaded, an empty text is none."""
    for field, column in zip(publication.rows.schema, publication.rows.columns, strict=True):
        if column.null_count and not field.nullable:
            raise FunneliftError(
                f"nothing was published, a key is broken: {publication.name}.{field.name} has {column.null_count} nulls"
            )


def _types(publication: Publication, present: dict[str, str]) -> dict[str, str]:
    """SQL types of the columns, with room for the rows and for those in the table that is there."""
    return {
        field.name: _sql_type(field.type, column, field.name in publication.key, present.get(field.name, ""))
        for field, column in zip(publication.rows.schema, publication.rows.columns, strict=True)
    }


def _sql_type(arrow_type: "pa.DataType", column: "pa.ChunkedArray", is_key: bool, present: str) -> str:
    import pyarrow as pa

    if pa.types.is_dictionary(arrow_type):
        return _sql_type(arrow_type.value_type, column, is_key, present)
    if pa.types.is_string(arrow_type):
        return KEY_TYPE if is_key else _text_type(column, present)
    types = {
        pa.float64(): "double",
        pa.int64(): "bigint",
        pa.int32(): "int",
        pa.bool_(): "tinyint(1)",
        pa.timestamp("us"): "datetime(6)",
    }
    return types[arrow_type]


def _text_type(column: "pa.ChunkedArray", present: str) -> str:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [chunk.dictionary if pa.types.is_dictionary(column.type) else chunk for chunk in column.chunks]
    longest = max((pc.max(pc.utf8_length(text)).as_py() or 0 for text in texts), default=0)
    longest = max(longest, TEXT_TYPES.get(present, 0))
    return next(kind for kind, room in TEXT_TYPES.items() if longest <= room)


def _in_key_order(rows: "pa.Table", key: Sequence[str]) -> Iterator["pa.RecordBatch"]:
    """The rows in the order in which InnoDB keeps them: out of it, a large table takes half as long again to load."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = rows.unify_dictionaries()
    plain = {
        column: rows[column].cast(rows[column].type.value_type)
        if pa.types.is_dictionary(rows[column].type)
        else rows[column]
        for column in key
    }
    order = pc.sort_indices(pa.table(plain), [(column, "ascending") for column in key])
    for start in range(0, len(order), LOAD_ROWS):
        yield from rows.take(order.slice(start, LOAD_ROWS)).combine_chunks().to_batches()
