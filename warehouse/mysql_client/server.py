"""What kind of server answers, and whether it is new enough."""

import re
import socket
from contextlib import suppress
from dataclasses import dataclass

from warehouse.errors import ServerError
from warehouse.mysql_client.settings import Settings

GREETING_SECONDS = 10
OLDEST_MYSQL, OLDEST_MARIADB = (8, 0, 17), (10, 6, 0)


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


def greeted_version(settings: Settings) -> str:
    """Ask a server, without a password, what it calls its version.

    Parameters
    ----------
    settings : Settings
        Where it is.

    Returns
    -------
    str
        The version as its greeting has it; blank where nothing answers, or no such server.
    """
    greeting = b""
    with suppress(OSError), socket.create_connection((settings.host, settings.port), GREETING_SECONDS) as connection:
        # Four bytes of a packet's head and the protocol's number, then the text up to a zero.
        while len(greeting) < 5 or (b"\0" not in greeting[5:] and len(greeting) < 200):
            if not (part := connection.recv(200)):
                break
            greeting += part
    text, end, _ = greeting[5:].partition(b"\0")
    return text.decode(errors="replace") if end and greeting[4] == 10 else ""


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
