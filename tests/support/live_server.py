"""The live service on loopback, for tests that speak HTTP with it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import uvicorn

from live.http import make_app
from live.service import Service
from live.settings import LiveSettings
from ml.config import Config
from paths import ROOT
from servers import free_port

SECONDS = 120


class Client:
    """One kept connection to the service."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self.port = port
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def send(self, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """POST events: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", "/events", content, headers)

    def ask(
        self, method: str, path: str, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)) as connection:
            connection.request(method, path, content, {**self._headers, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(text) if is_json else text.decode()


@contextmanager
def running(config: Config, settings: LiveSettings) -> Iterator[tuple[Service, Client]]:
    """The service in this process, on a port of its own."""
    service = Service(config, settings)
    service.start()
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(make_app(service), host="127.0.0.1", port=port, access_log=False, log_level="warning")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + SECONDS
        while not server.started:
            assert time.monotonic() < deadline, "the service did not start"
            time.sleep(0.02)
        yield service, Client(port, settings.token)
    finally:
        server.should_exit = True
        thread.join(SECONDS)


@contextmanager
def process(environment: dict[str, str], options: Sequence[str]) -> Iterator[tuple["subprocess.Popen[bytes]", Client]]:
    """The service as a process, once it is ready; what is left of it is killed."""
    port = free_port()
    command = [sys.executable, "-m", "live", "serve", "--port", str(port), *options]
    started = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    client, deadline = Client(port), time.monotonic() + SECONDS
    try:
        while True:
            try:
                if client.ask("GET", "/readyz")[0] == 200:
                    break
            except OSError:
                pass
            if started.poll() is not None or time.monotonic() > deadline:
                started.kill()
                raise AssertionError(started.communicate()[1].decode()[-2000:])
            time.sleep(0.1)
        yield started, client
    finally:
        if started.poll() is None:
            started.kill()
        if started.stderr is not None and not started.stderr.closed:
            started.communicate()


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    """All whole lines of a kind that are on the disk, closed files and open ones."""
    found = []
    for path in sorted(folder.glob(f"*/{kind}-*.jsonl*")):
        found += [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    return found
