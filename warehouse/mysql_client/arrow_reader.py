"""Large queries as Arrow batches, by connectorx: fast, of bounded memory, and with errors that say what to do."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from warehouse.errors import FunneliftError
from warehouse.mysql_client.relay import Relay
from warehouse.mysql_client.session import SESSION_SQL, Session

if TYPE_CHECKING:
    import pyarrow as pa

STDERR = 2


def read_batches(session: Session, sql: str, source: str, batch_rows: int) -> Iterator["pa.RecordBatch"]:
    """Read the rows of a query over a connection of their own.

    Parameters
    ----------
    session : Session
        Whose server, user and encryption.
    sql : str
        The query.
    source : str
        What it reads, for messages.
    batch_rows : int
        Rows of a batch.

    Yields
    ------
    pyarrow.RecordBatch
        The rows; one batch is in memory at a time.

    Raises
    ------
    FunneliftError
        When the connection is lost.
    """
    # Read when it is imported: after a failure its pool goes on logging from a thread of its own.
    os.environ.setdefault("RUST_LOG", "off")
    import connectorx

    host, port = session.settings.host, session.settings.port
    # A certificate is compared with the name by which the server is reached, so then there is no other way to it.
    is_direct = session.settings.ssl_mode == "verify_identity"
    with nullcontext() if is_direct else closing(Relay(host, port)) as relay:
        flow = relay.opened if relay else nullcontext
        with _told(session, source), flow():
            reader: Any = connectorx.read_sql(
                connectorx_url(session, relay.host, relay.port) if relay else connectorx_url(session),
                sql,
                return_type="arrow_stream",
                protocol="binary",
                batch_size=batch_rows,
                pre_execution_query=SESSION_SQL,
            )
        while True:
            with _told(session, source), flow():
                batch = next(reader, None)
            if batch is None:
                return
            yield batch


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


@contextmanager
def _told(session: Session, source: str) -> Iterator[None]:
    """Turn connectorx's errors into ones that say what to do."""
    settings = session.settings
    try:
        with set_aside():
            yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # where connectorx panics it raises no Exception
        text = str(error)
        for secret in filter(None, (settings.password, quote(settings.password, safe=""))):
            text = text.replace(secret, "***")
        session.rows("select 1")
        raise FunneliftError(
            f"{settings.place}: the connection was lost while {source} was read ({text}). "
            "Nothing was written: run the same command again"
        ) from None


@contextmanager
def set_aside() -> Iterator[None]:
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
