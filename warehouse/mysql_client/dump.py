"""Whole databases to files and back, by the server's own tools: mariadb-dump and mariadb, or mysqldump and mysql."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from warehouse.errors import ServerError
from warehouse.mysql_client.session import Session
from warehouse.mysql_client.settings import Settings

BLOCK_BYTES = 1 << 20
DUMPERS, CLIENTS = ("mariadb-dump", "mysqldump"), ("mariadb", "mysql")
# One transaction that reads what was there when it began; rows one by one, as memory is bounded; nothing that only an
# administrator may do.
DUMP_OPTIONS = (
    "--single-transaction",
    "--quick",
    "--skip-lock-tables",
    "--skip-add-locks",
    "--skip-triggers",
    "--skip-comments",
    "--no-tablespaces",
    "--hex-blob",
    "--default-character-set=utf8mb4",
)


def dump(session: Session, database: str, tables: Sequence[str], file: Path) -> None:
    """Write tables or views of a database to a file of SQL, compressed with Zstandard.

    Parameters
    ----------
    session : Session
        Says where the server is and which it is.
    database : str
        The database.
    tables : sequence of str
        Its tables; the file is empty where there are none.
    file : Path
        The file to write.

    Raises
    ------
    ServerError
        The tool is missing or fails; the message is its own.
    """
    with pa.OSFile(str(file), "wb") as raw, pa.CompressedOutputStream(raw, "zstd") as packed:
        if not tables:
            return
        with _running(session, DUMPERS, [*DUMP_OPTIONS, database, *tables]) as process:
            assert process.stdout is not None
            while block := process.stdout.read(BLOCK_BYTES):
                packed.write(block)


def replay(session: Session, database: str, file: Path) -> None:
    """Run a file that `dump` wrote in a database.

    Parameters
    ----------
    session : Session
        Says where the server is and which it is.
    database : str
        The database that takes the tables.
    file : Path
        The file to read.

    Raises
    ------
    ServerError
        The tool is missing or fails; the message is its own.
    """
    with (
        _running(session, CLIENTS, ["--default-character-set=utf8mb4", database]) as process,
        pa.OSFile(str(file), "rb") as raw,
        pa.CompressedInputStream(raw, "zstd") as unpacked,
    ):
        assert process.stdin is not None
        while block := unpacked.read(BLOCK_BYTES):
            process.stdin.write(block)


@contextmanager
def _running(session: Session, names: Sequence[str], arguments: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    """A tool at work; at the end of the block it must end well too."""
    settings, tool = session.settings, _find(session, names)
    is_mariadbs = "MariaDB" in subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout
    # It reads nothing of the machine's own configuration. The password travels in the environment, which no list of
    # processes shows.
    command = [tool, "--no-defaults", f"--host={settings.host}", f"--port={settings.port}", "--protocol=tcp"]
    command += [f"--user={settings.user}", *_encryption(settings, is_mariadbs)]
    command += ["--set-gtid-purged=OFF"] if names == DUMPERS and not is_mariadbs else []
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE if names == CLIENTS else subprocess.DEVNULL,
            stdout=subprocess.PIPE if names == DUMPERS else subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "MYSQL_PWD": settings.password},
        )
        try:
            # A tool that stops says why below.
            with suppress(BrokenPipeError):
                yield process
            with suppress(BrokenPipeError):
                process.communicate()
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode:
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip()[-1000:]
            if settings.password:
                text = text.replace(settings.password, "***")
            raise ServerError(f"{settings.place}: {Path(tool).name} failed (exit code {process.returncode}): {text}")


def _find(session: Session, names: Sequence[str]) -> str:
    """The tool of the server's own make if there is one, else the other's: each speaks to both."""
    wanted = names if session.server.is_mariadb else names[::-1]
    for name in wanted:
        if found := shutil.which(name):
            return found
    raise ServerError(
        f"neither {names[0]} nor {names[1]} is on this machine: install the server's client tools (Debian: "
        f"{'mariadb-client' if session.server.is_mariadb else 'mysql-client'})"
    )


def _encryption(settings: Settings, is_mariadbs: bool) -> list[str]:
    """The same demands as the session's, in the words of each make."""
    authority = [f"--ssl-ca={settings.ssl_ca}"] if settings.ssl_ca else []
    if not is_mariadbs:
        return [f"--ssl-mode={settings.ssl_mode.upper()}", *authority]
    if settings.ssl_mode == "disabled":
        return ["--skip-ssl"]
    return [*authority, *(["--ssl-verify-server-cert"] if settings.ssl_mode.startswith("verify") else [])]
