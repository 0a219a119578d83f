"""How Python reaches a MySQL or MariaDB server: settings, sessions, plain errors, bulk loading and locks.

The loader and the modelling commands share it, so that both say the same thing about the same fault.
"""

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal
from urllib.parse import quote, urlencode

import mysql.connector
from mysql.connector.errors import Error as DriverError
from mysql.connector.errors import InterfaceError, OperationalError

from warehouse.errors import ConnectionLostError, NotAllowedError, RepeatedKeyError, ServerError

if TYPE_CHECKING:
    import pyarrow as pa

OLDEST_MYSQL, OLDEST_MARIADB = (8, 0, 17), (10, 6, 0)
CONNECT_SECONDS = 10
# A night between two statements must not end a session; a reader may hold a table's name for this long, no longer.
IDLE_SECONDS, LOCK_SECONDS = 86_400, 300
SSL_MODES = ("preferred", "required", "verify_ca", "verify_identity", "disabled")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Both servers take this as it is: each runs its own comments and passes over the other's. Ids are compared byte by byte
# and without padding.
COLLATION = "/*!80017 utf8mb4_0900_bin */ /*M!100600 utf8mb4_nopad_bin */"
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
REPEATED_KEY = 1062
_LOST = {1053, 1077, 1079, 1080, 1152, 1184, 1927, 2006, 2013, 2055, 3169, 4031}
_UNREACHABLE = {2002, 2003, 2005}
_NOT_ALLOWED = {1044, 1142, 1143, 1227, 1370, 1396, 1410, 1419}
_LOCAL_INFILE_OFF = {1148, 3948, 3950, 4166}


@dataclass(frozen=True)
class Settings:
    """Where the server is and who asks; from FUNNELIFT_MYSQL_*."""

    host: str = "127.0.0.1"
    port: int = 3306
    user: str = "funnelift"
    password: str = field(default="", repr=False)
    ssl_mode: str = "preferred"
    ssl_ca: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read FUNNELIFT_MYSQL_HOST, _PORT, _USER, _PASSWORD, _SSL_MODE and _SSL_CA.

        Parameters
        ----------
        environment : mapping
            Environment variables.

        Returns
        -------
        Settings
            Checked as far as can be without a server.

        Raises
        ------
        ServerError
            A setting cannot work.
        """

        def given(name: str, default: str) -> str:
            return environment.get(f"FUNNELIFT_MYSQL_{name}") or default

        port = given("PORT", str(cls.port))
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ServerError(f"FUNNELIFT_MYSQL_PORT: {port!r} is no port number, 1 to 65535")
        mode = given("SSL_MODE", cls.ssl_mode).lower()
        if mode not in SSL_MODES:
            raise ServerError(f"FUNNELIFT_MYSQL_SSL_MODE: {mode!r} is none of {', '.join(SSL_MODES)}")
        authority = given("SSL_CA", "")
        if authority and not Path(authority).is_file():
            raise ServerError(f"FUNNELIFT_MYSQL_SSL_CA: there is no file {authority}")
        if mode.startswith("verify") and not authority:
            raise ServerError(
                f"FUNNELIFT_MYSQL_SSL_MODE={mode} needs FUNNELIFT_MYSQL_SSL_CA, the certificate authority's PEM file"
            )
        return cls(
            given("HOST", cls.host),
            int(port),
            given("USER", cls.user),
            given("PASSWORD", ""),
            mode,
            Path(authority) if authority else None,
        )

    @property
    def place(self) -> str:
        """Who and where, as messages name it."""
        return f"{self.user}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Server:
    """What kind of server answered."""

    is_mariadb: bool
    version: tuple[int, int, int]
    text: str

    @property
    def collation(self) -> str:
        """The collation that compares texts byte by byte and without padding."""
        return "utf8mb4_nopad_bin" if self.is_mariadb else "utf8mb4_0900_bin"


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
        with _told(settings):
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
        with _told(self.settings), self._cursor() as cursor:
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
        with _told(self.settings), self._cursor() as cursor:
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
        constants: Mapping[str, str] | None = None,
    ) -> int:
        """Send rows to a table by LOAD DATA LOCAL INFILE, as a stream: no more than a batch is in memory twice.

        Empty text in a nullable column arrives as null, as nothing in this project means anything by it.

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
        import pyarrow as pa

        if isinstance(rows, pa.Table):
            rows, schema = rows.to_batches(max_chunksize=100_000), rows.schema
        assert schema is not None, "batches come without a schema of their own"
        columns = list(schema)
        nullable = {column.name for column in columns if column.nullable}
        targets = ", ".join(f"@v{at}" if one.name in nullable else name(one.name) for at, one in enumerate(columns))
        # By its length: a comparison with '' would take blanks, or characters without weight, for nothing too.
        settings = [
            f"{name(column.name)} = if(length(@v{at}) = 0, null, @v{at})"
            for at, column in enumerate(columns)
            if column.name in nullable
        ]
        settings += [f"{name(column)} = %s" for column in constants or ()]
        with _pipe(rows) as path, _told(self.settings), self._cursor() as cursor:
            # LOCAL turns errors into warnings, so the warnings are what says whether every value arrived as it was.
            cursor.execute(
                f"load data local infile %s into table {table} character set utf8mb4 "
                "fields terminated by ',' optionally enclosed by '\"' escaped by '' lines terminated by '\\n' "
                f"({targets}) {'set ' + ', '.join(settings) if settings else ''}",
                (path, *(constants or {}).values()),
            )
            written = int(cursor.rowcount)
            if cursor.warning_count:
                cursor.execute("show warnings limit 1")
                _, code, message = cursor.fetchone()
                if code == REPEATED_KEY:
                    raise RepeatedKeyError(f"{table}: {message}")
                raise ServerError(f"{table}: a value would not have arrived as it is: {message} ({code})")
        return written

    @contextmanager
    def lock(self, what: str, wait_seconds: int) -> Iterator[None]:
        """Hold a lock that only one session at a time can have, until the block or the session ends.

        Parameters
        ----------
        what : str
            Name of the lock, at most 64 characters.
        wait_seconds : int
            How long to wait for whoever has it.

        Raises
        ------
        ServerError
            Somebody else still has it.
        """
        ((has_it,),) = self.rows("select get_lock(%s, %s)", [what, wait_seconds])
        if has_it != 1:
            ((holder,),) = self.rows("select is_used_lock(%s)", [what])
            raise ServerError(
                f"{self.settings.place}: another run holds the lock {what} (connection {holder}) and did not finish "
                f"within {wait_seconds} s: wait for it, then run again"
            )
        try:
            yield
        finally:
            with suppress(ServerError):
                self.rows("select release_lock(%s)", [what])

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


def read_version(text: str) -> Server:
    """Read what `select version()` says.

    Parameters
    ----------
    text : str
        Such as `9.7.0`, `8.0.36-28`, `10.11.19-MariaDB-log` or `5.5.5-10.6.12-MariaDB`.

    Returns
    -------
    Server
        Kind and version; 0.0.0 if the text holds none.
    """
    found = re.search(r"(\d+)\.(\d+)\.(\d+)(?=-MariaDB)", text) or re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    version = tuple(map(int, found.groups())) if found else (0, 0, 0)
    return Server("mariadb" in text.lower(), (version[0], version[1], version[2]), text)


def check_version(server: Server, settings: Settings) -> None:
    """Refuse a server that is too old.

    Parameters
    ----------
    server : Server
        Its version.
    settings : Settings
        Where it is, for the message.

    Raises
    ------
    ServerError
        It is older than OLDEST_MYSQL or OLDEST_MARIADB.
    """
    oldest = OLDEST_MARIADB if server.is_mariadb else OLDEST_MYSQL
    if server.version < oldest:
        kind = "MariaDB" if server.is_mariadb else "MySQL"
        raise ServerError(
            f"{settings.place}: the server is {server.text}, too old: Funnelift needs "
            f"{kind} {'.'.join(map(str, oldest))} or newer"
        )


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
        raise ServerError(_local_infile_off(session.settings))


def check_database(session: Session, database: str) -> bool:
    """Tell whether a database is there, and refuse one that not every text fits.

    Parameters
    ----------
    session : Session
        An open session.
    database : str
        Its name.

    Returns
    -------
    bool
        False where this user sees no such database.

    Raises
    ------
    ServerError
        Its character set is not utf8mb4.
    """
    found = session.rows(
        "select default_character_set_name from information_schema.schemata where schema_name = %s", [database]
    )
    if found and found[0][0] != "utf8mb4":
        raise ServerError(
            f"{session.settings.place}: the database {database} has the character set {found[0][0]}, which not every "
            f"text fits. Run `{_database_statement('alter', session, database)}`, then the same command again"
        )
    return bool(found)


def provide_database(session: Session, database: str) -> None:
    """See that a database is there and takes every text, creating it where it is missing.

    Parameters
    ----------
    session : Session
        An open session.
    database : str
        Its name.

    Raises
    ------
    ServerError
        It is missing and this user may not create it, or its character set is not utf8mb4.
    """
    if not check_database(session, database):
        try:
            session.execute(_database_statement("create", session, database))
        except NotAllowedError:
            raise NotAllowedError(missing_database(session, database)) from None


def missing_database(session: Session, database: str) -> str:
    """Say what to do about a database that this user can neither see nor create."""
    return (
        f"{session.settings.place}: there is no database {database}, or this user may not see it, and this user may "
        f"not create it. Have an administrator run `{_database_statement('create', session, database)}` and give this "
        "user a role; `python -m ops roles` prints all of it"
    )


def connectorx_url(session: Session, host: str | None = None, port: int | None = None) -> str:
    """Return the URL under which connectorx reads with the same user and the same encryption. It holds the password.

    Parameters
    ----------
    session : Session
        Whose server and user.
    host, port : str, int, optional
        Another way to the same server.

    Returns
    -------
    str
        The URL.
    """
    settings = session.settings
    mode = settings.ssl_mode.upper() if settings.ssl_mode.startswith("verify") else "REQUIRED"
    # Left to itself it asks a server on this machine for its socket file and goes there, to whichever server that is.
    options = {"ssl-mode": mode if session.is_encrypted else "DISABLED", "prefer_socket": "false"}
    if settings.ssl_ca and session.is_encrypted:
        options["ssl-ca"] = str(settings.ssl_ca)
    login = f"{quote(settings.user, safe='')}:{quote(settings.password, safe='')}"
    host = host or settings.host
    host = f"[{host}]" if ":" in host else host
    return f"mysql://{login}@{host}:{port or settings.port}/?{urlencode(options)}"


def name(*parts: str) -> str:
    """Write a name, such as a database and a table of it, as SQL takes it.

    Parameters
    ----------
    *parts : str
        Letters, digits and underscores each.

    Returns
    -------
    str
        The parts in backticks, joined by dots.

    Raises
    ------
    ServerError
        A part has other characters.
    """
    for part in parts:
        if not IDENTIFIER.fullmatch(part):
            raise ServerError(f"{part!r} is not a usable name: letters, digits and underscores only, at most 64")
    return ".".join(f"`{part}`" for part in parts)


@contextmanager
def _told(settings: Settings) -> Iterator[None]:
    """Turn the driver's errors into ones that say what to do."""
    try:
        yield
    except DriverError as error:
        code, place = error.errno or 0, settings.place
        text = f"{error.msg or error} ({code})"
        # A password that will not do is the only secret near here; the driver repeats none, and this makes sure.
        if settings.password:
            text = text.replace(settings.password, "***")
        raise _explained(code, text, place, settings, isinstance(error, InterfaceError | OperationalError)) from None


def _explained(code: int, text: str, place: str, settings: Settings, may_be_lost: bool) -> ServerError:
    if code in _LOST or (code == -1 and may_be_lost):
        return ConnectionLostError(
            f"{place}: the connection was lost ({text}). What was not finished is undone and nothing is half-written: "
            "see that the server runs, then run the same command again"
        )
    if code in _UNREACHABLE:
        return ServerError(
            f"{place}: no MySQL or MariaDB server answers ({text}). Start it, or set FUNNELIFT_MYSQL_HOST and "
            "FUNNELIFT_MYSQL_PORT to where it is"
        )
    if code in (1045, 1698):
        return ServerError(
            f"{place}: the server refuses this user or password ({text}). Set FUNNELIFT_MYSQL_USER and "
            "FUNNELIFT_MYSQL_PASSWORD"
        )
    if code == 1049:
        return ServerError(
            f"{place}: the database does not exist ({text}). `python -m ops roles` prints what creates it"
        )
    if code in _NOT_ALLOWED:
        return NotAllowedError(
            f"{place}: this user lacks a privilege ({text}). `python -m ops roles` prints the roles that have what "
            "each stage needs"
        )
    if code == REPEATED_KEY:
        return RepeatedKeyError(f"{place}: a key repeats ({text})")
    if code in _LOCAL_INFILE_OFF:
        return ServerError(_local_infile_off(settings))
    if code == 1205:
        return ServerError(f"{place}: a table stayed in use by somebody else for {LOCK_SECONDS} s ({text}). Run again")
    if 2000 <= code < 2100 and "SSL" in text.upper():
        return ServerError(f"{place}: no encrypted connection: {text}. See FUNNELIFT_MYSQL_SSL_MODE and _SSL_CA")
    return ServerError(f"{place}: the server says: {text}")


def _database_statement(verb: Literal["create", "alter"], session: Session, database: str) -> str:
    return f"{verb} database {name(database)} character set utf8mb4 collate {session.server.collation}"


def _local_infile_off(settings: Settings) -> str:
    return (
        f"{settings.place}: the server has local_infile off, so no rows can be loaded. Have it switched on: "
        "`set global local_infile = 1`, and `local_infile = 1` under [mysqld] in its configuration to make it last"
    )


@contextmanager
def _pipe(batches: "Iterable[pa.RecordBatch]") -> Iterator[str]:
    """A path from which the rows can be read as CSV, once, while the block runs; nothing lies on the disk."""
    failures: list[BaseException] = []
    source, sink = os.pipe()

    def write() -> None:
        try:
            with os.fdopen(sink, "wb") as pipe:
                _write_csv(pipe, batches)
        except BrokenPipeError:
            pass  # the reader stopped; it says why
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield f"/dev/fd/{source}"
    finally:
        # A writer that still has rows when nobody reads any more ends by this.
        os.close(source)
        writer.join()
        if failures:
            raise failures[0]


def _write_csv(pipe: BinaryIO, batches: "Iterable[pa.RecordBatch]") -> None:
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    options = arrow_csv.WriteOptions(include_header=False, quoting_style="needed")
    for batch in batches:
        columns = [_plain(column) for column in batch.columns]
        arrow_csv.write_csv(pa.RecordBatch.from_arrays(columns, names=batch.schema.names), pipe, options)


def _plain(column: "pa.Array") -> "pa.Array":
    """Values as CSV can hold them: texts written out, truth as 0 and 1."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    return column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
