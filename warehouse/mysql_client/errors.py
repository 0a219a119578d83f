"""The driver's errors, turned into ones that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from mysql.connector.errors import Error as DriverError
from mysql.connector.errors import InterfaceError, OperationalError

from warehouse.errors import ConnectionLostError, NotAllowedError, RepeatedKeyError, ServerError
from warehouse.mysql_client.server import greeted_version
from warehouse.mysql_client.settings import Settings

# How long a statement waits for a table that somebody else uses.
LOCK_SECONDS = 300
REPEATED_KEY = 1062
_LOST = {1053, 1077, 1079, 1080, 1152, 1184, 1927, 2006, 2013, 2055, 3169, 4031}
# How the driver says so; it has no number of its own.
_NO_VERSION = "Failed parsing MySQL version"
_UNREACHABLE = {2002, 2003, 2005}
_NOT_ALLOWED = {1044, 1142, 1143, 1227, 1370, 1396, 1410, 1419}
_LOCAL_INFILE_OFF = {1148, 3948, 3950, 4166}


@contextmanager
def told(settings: Settings) -> Iterator[None]:
    """Turn the driver's errors into ones that say what to do.

    Parameters
    ----------
    settings : Settings
        Where the server is and who asks.

    Raises
    ------
    ServerError
        The driver raised an error in the block.
    """
    try:
        yield
    except DriverError as error:
        raise _explained(error, settings) from None


def _explained(error: DriverError, settings: Settings) -> ServerError:
    code, place = error.errno or 0, settings.place
    text = f"{error.msg or error} ({code})"
    # A password that will not do is the only secret near here; the driver repeats none, and this makes sure.
    if settings.password:
        text = text.replace(settings.password, "***")
    if _NO_VERSION in text:
        return ServerError(
            f"{place}: the server calls its version {greeted_version(settings)!r}, which MySQL's driver cannot read: "
            "it must begin with three numbers, as 8.0.36 does. A fork or a proxy says it, so set it there (ProxySQL: "
            "mysql-server_version, MaxScale: version_string, MariaDB: version), or connect to the server behind it"
        )
    if code in _LOST or (code == -1 and isinstance(error, InterfaceError | OperationalError)):
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
        return ServerError(local_infile_off(settings))
    if code == 1205:
        return ServerError(f"{place}: a table stayed in use by somebody else for {LOCK_SECONDS} s ({text}). Run again")
    if 2000 <= code < 2100 and "SSL" in text.upper():
        return ServerError(f"{place}: no encrypted connection: {text}. See FUNNELIFT_MYSQL_SSL_MODE and _SSL_CA")
    return ServerError(f"{place}: the server says: {text}")


def local_infile_off(settings: Settings) -> str:
    """Say what to do about a server that takes no rows by LOAD DATA LOCAL INFILE."""
    return (
        f"{settings.place}: the server has local_infile off, so no rows can be loaded. Have it switched on: "
        "`set global local_infile = 1`, and `local_infile = 1` under [mysqld] in its configuration to make it last"
    )
