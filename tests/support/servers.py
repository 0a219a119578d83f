"""A MySQL or MariaDB server for tests: one named by the environment, else a private MariaDB of the tests' own.

The databases have fixed names, so every test that uses one starts by dropping them: name a server that holds nothing.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from warehouse.mysql_client.server import greeted_version
from warehouse.mysql_client.session import Session, open_session
from warehouse.mysql_client.settings import Settings

DATABASES = ("funnelift", "funnelift_raw")
START_SECONDS = 60
NAMED, SECOND = "FUNNELIFT_TEST_MYSQL_", "FUNNELIFT_TEST_SECOND_MYSQL_"


@dataclass
class DatabaseServer:
    """A running server and its administrator."""

    settings: Settings
    folder: Path | None = None
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def is_private(self) -> bool:
        """Whether it is the tests' own, to be stopped and reconfigured at will."""
        return self.folder is not None

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a command works on this server as its administrator."""
        return environment_of(self.settings)

    def session(self, local_infile: bool = False) -> Session:
        return open_session(self.settings, local_infile)

    def drop_databases(self) -> None:
        session = self.session()
        for database in DATABASES:
            session.execute(f"drop database if exists {database}")
        session.close()

    def start(self) -> None:
        assert self.folder is not None
        data, log, scratch = self.folder / "data", self.folder / "server.log", self.folder / "tmp"
        scratch.mkdir(exist_ok=True)
        command = [
            *("mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={self.folder / 'sock'}"),
            # A server that starts clears its tmpdir of temporary tables, those of other servers too.
            f"--tmpdir={scratch}",
            *(f"--pid-file={self.folder / 'pid'}", f"--port={self.settings.port}", "--bind-address=127.0.0.1"),
            *("--local-infile=1", "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=512M"),
            *(("--user=root",) if os.geteuid() == 0 else ()),
            *self.options,
        ]
        with log.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not greeted_version(self.settings):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the private MariaDB did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.2)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(START_SECONDS)
        self.process = None


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        "FUNNELIFT_TARGET": "mysql",
        "FUNNELIFT_MYSQL_HOST": settings.host,
        "FUNNELIFT_MYSQL_PORT": str(settings.port),
        "FUNNELIFT_MYSQL_USER": settings.user,
        "FUNNELIFT_MYSQL_PASSWORD": settings.password,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lacking(reason: str) -> NoReturn:
    """Skip a test for what a user's machine need not have; CI has it, so there that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def require_mariadb() -> None:
    """Skip where there is no MariaDB to start; under CI that is a failure."""
    if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
        lacking(
            "no mariadbd on this machine: install mariadb-server, or name an empty server by "
            f"{NAMED}HOST, _PORT, _USER and _PASSWORD"
        )


def start_private_mariadb(folder: Path, *options: str) -> DatabaseServer:
    """Make and start a MariaDB that listens on loopback only, its administrator root without a password."""
    require_mariadb()
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={folder / 'data'}"]
    install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
    install += ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = DatabaseServer(Settings(port=free_port(), user="root"), folder, options)
    server.start()
    return server


def named_server(prefix: str = NAMED) -> DatabaseServer | None:
    """The server that the environment names by variables that start so, if any."""
    given = {key.removeprefix(prefix): value for key, value in os.environ.items() if key.startswith(prefix)}
    if not given:
        return None
    settings = {f"FUNNELIFT_MYSQL_{key}": value for key, value in given.items()}
    return DatabaseServer(Settings.from_environment(settings))


def serve(folder: Path) -> Iterator[DatabaseServer]:
    """The server of a test run, stopped at its end if it is the tests' own."""
    server = named_server() or start_private_mariadb(folder)
    try:
        yield server
    finally:
        if server.process is not None:
            server.stop()
