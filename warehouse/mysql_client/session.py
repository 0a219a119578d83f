"""A connection to a MySQL or MariaDB server: statements, small queries, bulk loads and locks.

The loader and the modelling commands share it, so that both say the same thing about the same fault.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import mysql.connector
from mysql.connector.errors import Error as DriverError

from warehouse.errors import RepeatedKeyError, ServerError
from warehouse.mysql_client.errors import LOCK_SECONDS, REPEATED_KEY, local_infile_off, told
from warehouse.mysql_client.names import name
from warehouse.mysql_client.server import check_version, read_version
from warehouse.mysql_client.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

CONNECT_SECONDS = 10
# A night between two statements must not end a session.
IDLE_SECONDS = 86_400
# Both servers take this as it is: each runs its own comments and passes over the other's. Ids are compared byte by byte
# and without padding.
COLLATION = "/*!80017 utf8mb4_0900_bin */ /*M!100600 utf8mb4_nopad_bin */"
# Holds the secret end of each lock's name. dbt makes the same table, for builds.
RUN_LOCKS = "run_locks"
RUN_LOCKS_COLUMNS = "(lock_name varchar(64) primary key, secret char(32) not null) engine = InnoDB"
# Every time is UTC, and what does not fit a column is an error.
SESSION_SQL = f"""
set names utf8mb4 collate {COLLATION},
    time_zone = '+00:00',
    sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',
    wait_timeout = {IDLE_SECONDS},
    net_write_timeout = 3600,
    net_read_timeout = 3600,
    lock_wait_timeout = {LOCK_SECONDS}
"""


class Session:
    """One connection with the session settings that every stage relies on."""

    def __init__(self, settings: Settings, local_infile: bool = False) -> None:
        """Connect; see `open_session` for the errors."""
        self.settings = settings
        arguments: dict[str, Any] = {
            "host": settings.host,
            "port": settings.port,
            "user": settings.user,
            "password": settings.password,
            "connection_timeout": CONNECT_SECONDS,
            "allow_local_infile": local_infile,
            # One that every server knows, until SESSION_SQL: left to itself, the driver takes any server that says 8 or
            # more for MySQL, and demands a collation that MariaDB lacks.
            "charset": "utf8mb4",
            "collation": "utf8mb4_general_ci",
            # The pure Python driver that takes over silently where the C one is missing is five times slower.
            "use_pure": False,
        }
        if settings.ssl_mode == "disabled":
            arguments["ssl_disabled"] = True
        if settings.ssl_ca:
            arguments |= {
                "ssl_ca": str(settings.ssl_ca),
                "ssl_verify_cert": True,
                "ssl_verify_identity": settings.ssl_mode == "verify_identity",
            }
        with told(settings):
            self._connection: Any = mysql.connector.connect(**arguments)
        try:
            self.server = read_version(str(self.rows("select version()")[0][0]))
            # First of all: an older server would not understand what follows.
            check_version(self.server, settings)
            self.execute(SESSION_SQL)
            # Copying rows from table to table must not lock those that it reads.
            self.execute("set session transaction isolation level read committed")
            self.is_encrypted = bool(self.rows("show session status like 'Ssl_cipher'")[0][1])
        except BaseException:
            self.close()
            raise

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement that returns no rows.

        Parameters
        ----------
        sql : str
            The statement, values as `%s` marks if there are parameters.
        parameters : sequence
            The values.

        Returns
        -------
        int
            Rows affected.

        Raises
        ------
        ServerError
            The server refused it, or is gone.
        """
        with told(self.settings), self._cursor() as cursor:
            cursor.execute(sql, tuple(parameters) or None)
            return int(cursor.rowcount)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a query that returns few rows.

        Parameters
        ----------
        sql : str
            The query, values as `%s` marks if there are parameters.
        parameters : sequence
            The values.

        Returns
        -------
        list of tuple
            All rows.

        Raises
        ------
        ServerError
            The server refused it, or is gone.
        """
        return self.named_rows(sql, parameters)[1]

    def named_rows(self, sql: str, parameters: Sequence[object] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run a query that returns few rows, and say what its columns are called.

        Parameters
        ----------
        sql : str
            The query, values as `%s` marks if there are parameters.
        parameters : sequence
            The values.

        Returns
        -------
        list of str
            Column names.
        list of tuple
            All rows.

        Raises
        ------
        ServerError
            The server refused it, or is gone.
        """
        with told(self.settings), self._cursor() as cursor:
            cursor.execute(sql, tuple(parameters) or None)
            return [column[0] for column in cursor.description], cursor.fetchall()

    def columns(self, database: str, table: str) -> list[str]:
        """Return a table's column names.

        Parameters
        ----------
        database, table : str
            Their names.

        Returns
        -------
        list of str
            Names in the table's order; empty when there is no such table, or none that this user may see.
        """
        found = self.rows(
            "select column_name from information_schema.columns where table_schema = %s and table_name = %s "
            "order by ordinal_position",
            [database, table],
        )
        return [str(name) for (name,) in found]

    def load(
        self,
        table: str,
        rows: "pa.Table | Iterable[pa.RecordBatch]",
        schema: "pa.Schema | None" = None,
        constants: Mapping[str, str | int] | None = None,
    ) -> int:
        """Send rows to a table by LOAD DATA LOCAL INFILE, as a stream: no more than a batch is in memory twice.

        Empty text in a nullable column arrives as null: no column of this project tells the two apart.

        Parameters
        ----------
        table : str
            The table as SQL names it; `name` makes that out of names.
        rows : pyarrow.Table or iterable of pyarrow.RecordBatch
            Columns named as in the table.
        schema : pyarrow.Schema, optional
            Schema of the batches, where rows is not a table.
        constants : mapping, optional
            Columns with one value for all the rows, which then need not travel with each of them.

        Returns
        -------
        int
            Rows written; not committed yet.

        Raises
        ------
        RepeatedKeyError
            Two rows, of these or those that are there, have the same key.
        ServerError
            The server refused them or would have changed a value.
        """
        # It imports Arrow, which takes longer than connecting, and a session that loads nothing needs none of it.
        from warehouse.mysql_client.bulk_load import batches_of, csv_pipe, load_statement

        batches, schema = batches_of(rows, schema)
        statement = load_statement(table, schema, constants or {})
        with csv_pipe(batches) as path, told(self.settings), self._cursor() as cursor:
            cursor.execute(statement, (path, *(constants or {}).values()))
            written = int(cursor.rowcount)
            # LOCAL turns errors into warnings, so the warnings are what says whether every value arrived as it was.
            if cursor.warning_count:
                cursor.execute("show warnings limit 1")
                _, code, message = cursor.fetchone()
                if code == REPEATED_KEY:
                    raise RepeatedKeyError(f"{table}: {message}")
                raise ServerError(f"{table}: a value would not have arrived as it is: {message} ({code})")
        return written

    @contextmanager
    def lock(self, what: str, wait_seconds: int, database: str) -> Iterator[None]:
        """Hold a lock that only one session at a time can have, until the block or the session ends.

        Any user of a server can take a lock whose name they know, so its name ends with a secret of its database.

        Parameters
        ----------
        what : str
            Name of the lock, at most 31 characters.
        wait_seconds : int
            How long to wait for whoever has it.
        database : str
            Database whose writers share the lock. Where it is missing there is nothing to keep from others.

        Raises
        ------
        ServerError
            Somebody else still has it.
        """
        whole = self.lock_name(what, database)
        ((has_it,),) = self.rows("select get_lock(%s, %s)", [whole, wait_seconds])
        if has_it != 1:
            ((holder,),) = self.rows("select is_used_lock(%s)", [whole])
            raise ServerError(
                f"{self.settings.place}: another run holds the lock {what} (connection {holder}) and did not finish "
                f"within {wait_seconds} s: wait for it, then run again"
            )
        try:
            yield
        finally:
            with suppress(ServerError):
                self.rows("select release_lock(%s)", [whole])

    def lock_name(self, what: str, database: str) -> str:
        """Name a lock by what only the writers of its database can read.

        Parameters
        ----------
        what : str
            What the lock is called in messages, at most 31 characters.
        database : str
            Database whose writers share it.

        Returns
        -------
        str
            The name on the server, at most 64 characters.
        """
        schemata = "select count(*) from information_schema.schemata where schema_name = %s"
        if self.rows(schemata, [database]) == [(0,)]:
            return what
        table = name(database, RUN_LOCKS)
        self.execute(f"create table if not exists {table} {RUN_LOCKS_COLUMNS}")
        self.execute(f"insert ignore into {table} values (%s, %s)", [what, token_hex(16)])
        self.commit()
        ((secret,),) = self.rows(f"select secret from {table} where lock_name = %s", [what])
        self.commit()
        return f"{what}.{secret}"

    def ping(self) -> bool:
        """Whether the connection still stands."""
        try:
            self._connection.ping(reconnect=False)
        except DriverError:
            return False
        return True

    def commit(self) -> None:
        """Make what was done since the last commit last."""
        self.execute("commit")

    def rollback(self) -> None:
        """Undo what was done since the last commit; a lost connection has undone it already."""
        # The driver's own method raises what is none of its errors when the connection is lost.
        with suppress(ServerError):
            self.execute("rollback")

    def close(self) -> None:
        """End the session."""
        with suppress(DriverError):
            self._connection.close()

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        cursor = self._connection.cursor()
        try:
            yield cursor
        finally:
            with suppress(DriverError):
                cursor.close()


def open_session(settings: Settings, local_infile: bool = False) -> Session:
    """Connect to a server that can do what Funnelift needs.

    Parameters
    ----------
    settings : Settings
        Where and who.
    local_infile : bool
        Whether the session will load rows, for which the server must have local_infile on.

    Returns
    -------
    Session
        An open session.

    Raises
    ------
    ServerError
        The server is down, refuses the user, is too old, or has local_infile off.
    """
    session = Session(settings, local_infile)
    try:
        check_encryption(session)
        if local_infile:
            check_local_infile(session)
    except BaseException:
        session.close()
        raise
    return session


def check_encryption(session: Session) -> None:
    """Refuse a session without TLS where FUNNELIFT_MYSQL_SSL_MODE demands it; raises ServerError."""
    settings = session.settings
    if settings.ssl_mode not in ("preferred", "disabled") and not session.is_encrypted:
        raise ServerError(
            f"{settings.place}: FUNNELIFT_MYSQL_SSL_MODE={settings.ssl_mode}, but the server offers no TLS: give "
            "it a certificate (ssl_cert, ssl_key), or set preferred if the network between is yours alone"
        )


def check_local_infile(session: Session) -> None:
    """Refuse a server that takes no rows by LOAD DATA LOCAL INFILE; raises ServerError."""
    if session.rows("select @@global.local_infile")[0][0] != 1:
        raise ServerError(local_infile_off(session.settings))
