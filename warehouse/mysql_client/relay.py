"""A way to a server on which a client that reads ahead without end, as connectorx does, can be held back.

connectorx keeps Python's interpreter to itself while it connects, so what leads it to the server is a process.
"""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HOST = "127.0.0.1"
WAIT_SECONDS = 30
CHUNK_BYTES = 1 << 18
OPEN, SHUT = b"+", b"-"


class Relay:
    """A port on this machine that leads one client to a server; the server's answers pass only while it is open."""

    host = HOST

    def __init__(self, host: str, port: int) -> None:
        """Open the port.

        Parameters
        ----------
        host, port : str, int
            Where the server is.
        """
        command = [sys.executable, "-m", __name__, host, str(port)]
        # A session of its own: Ctrl-C is for the process that owns the relay, and its end is the relay's.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Let the server's answers through while the block runs."""
        self._order(OPEN)
        try:
            yield
        finally:
            self._order(SHUT)

    def close(self) -> None:
        """End the client's connection."""
        self._process.communicate()

    def _order(self, order: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the connection has ended, and with it the process
            self._process.stdin.write(order)
            self._process.stdin.flush()


def relay(host: str, port: int) -> None:
    """Lead a client to a server until either, or stdin, ends; stdin says whether the server's answers may pass.

    Parameters
    ----------
    host, port : str, int
        Where the server is.
    """
    with socket.create_server((HOST, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        listener.settimeout(WAIT_SECONDS)
        client, _ = listener.accept()
    server = socket.create_connection((host, port), WAIT_SECONDS)
    for side in (client, server):
        side.settimeout(None)
        side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    is_open = True
    while True:
        for source in select.select([sys.stdin, client, *([server] if is_open else [])], [], [])[0]:
            data = os.read(source.fileno(), CHUNK_BYTES)
            if not data:
                return
            if source is sys.stdin:
                is_open = data.endswith(OPEN)
            else:
                (server if source is client else client).sendall(data)


if __name__ == "__main__":
    relay(sys.argv[1], int(sys.argv[2]))
