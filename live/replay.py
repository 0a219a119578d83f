"""`python -m live replay`: start a service, send it the warehouse's last day as a shop would, show what it decides."""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table

from live.serve import TOKEN
from ml.cli import Progress, parse_arguments, run
from ml.config import Config
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse
from warehouse.settings import PROJECT

DESCRIPTION = (
    "Start a service on the warehouse, with a log of its own that is deleted at the end, and send it the events of the "
    "warehouse's last day. The warehouse knows these events, so they change nothing: the decisions are that day's."
)
EXIT_CODES = "Exit codes: 0 all was answered; 1 the service did not start or refused an event; 2 wrong usage."
DAY_MS, READY_SECONDS = 86_400_000, 180
LAST_SQL = "select high_water_mark_ms from funnelift.int_clock"
EVENTS_SQL = """
select events.event_ms as timestamp, visitors.visitor_id as visitorid, session_events.event_type as event,
    items.item_id as itemid, events.transaction_id as transactionid, events.own_price as price,
    events.own_category_id as categoryid, events.quantity, events.event_id
from funnelift.int_events as events
inner join funnelift.int_session_events as session_events
    on events.visitor_key = session_events.visitor_key and events.event_key = session_events.event_key
inner join funnelift.int_visitors as visitors on events.visitor_key = visitors.visitor_key
inner join funnelift.int_items as items on events.item_key = items.item_key
where events.event_ms > ? and events.event_ms <= ?
order by events.event_ms, events.event_key
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments; those of the process without it.

    Returns
    -------
    int
        Exit code.
    """
    options = parse_arguments("live replay", DESCRIPTION, arguments, _add_options, EXIT_CODES)
    return run(options, lambda config, progress: replay(config, progress, options.events, options.per_request))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=3000, metavar="N", help="most events to send (default: 3000)")
    parser.add_argument("--per-request", type=int, default=20, metavar="N", help="events of a request (default: 20)")


def replay(config: Config, progress: Progress, most: int, per_request: int) -> list[str]:
    """Start a service, send it a day, and show what it decided.

    Parameters
    ----------
    config : Config
        Where the warehouse and the models are.
    progress : Progress
        Shows the steps.
    most : int
        How many events to send at most, the first ones of the day.
    per_request : int
        How many go together.

    Returns
    -------
    list of str
        What to say at the end.
    """
    with progress.step("reading the warehouse's last day"):
        events = last_day(config)[:most]
    with tempfile.TemporaryDirectory() as folder, own_service(config, Path(folder), progress) as (port, _):
        decisions, seconds, whole = _send(port, events, per_request)
    Console().print(_table(decisions))
    times = sorted(seconds)
    middle, late = statistics.median(times), times[int(len(times) * 0.99)]
    return [
        f"{len(events):,} events in {whole:.1f} s ({len(events) / whole:,.0f} a second), {len(decisions):,} decisions; "
        f"a request of {per_request} was answered in {middle * 1000:.0f} ms (median), {late * 1000:.0f} ms (99 %).",
        "To keep a service running: python -m live serve. Its pages: /docs, /metrics, /decisions/<visitor>.",
    ]


def last_day(config: Config) -> list[dict[str, Any]]:
    """Read the events of the last day before the data's clock, as a shop would send them.

    Parameters
    ----------
    config : Config
        Where the warehouse is.

    Returns
    -------
    list of dict
        In the order of time.

    Raises
    ------
    FunneliftError
        When there are none.
    """
    with open_warehouse(config) as warehouse:
        until = int(warehouse.query(LAST_SQL)[0]["high_water_mark_ms"] or 0)
        rows = warehouse.query(EVENTS_SQL, [until - DAY_MS, until])
    if not rows:
        raise FunneliftError("the warehouse holds no events: run `make demo` first")
    return [
        {name: str(value) if isinstance(value, Decimal) else value for name, value in row.items() if value is not None}
        for row in rows
    ]


@contextmanager
def own_service(
    config: Config, folder: Path, progress: Progress, options: Sequence[str] = ()
) -> Iterator[tuple[int, int]]:
    """Start a service of our own.

    Parameters
    ----------
    config : Config
        Where the warehouse and the models are.
    folder : Path
        Gets its log and what it says.
    progress : Progress
        Shows the step.
    options : sequence of str
        More options of `live serve`.

    Yields
    ------
    int
        Its port, once it is ready.
    int
        The number of its process.
    """
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "live", "serve", "--target", config.target, "--results", str(config.results)]
    command += [
        "--manifest",
        str(config.manifest.resolve()),
        "--port",
        str(port),
        "--log",
        str(folder / "log"),
        *options,
    ]
    environment = {**os.environ, "FUNNELIFT_DUCKDB_PATH": str(config.duckdb_path.resolve())}
    environment.pop(TOKEN, None)
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=output, stderr=output)
        try:
            with progress.step("starting the service: it compiles the marts' SQL, reads the warehouse and the models"):
                _wait(process, port, folder / "output")
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int, output: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return
        except (OSError, HTTPException):
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise FunneliftError(f"the service did not start: {output.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)


def _send(port: int, events: list[dict[str, Any]], per_request: int) -> tuple[list[dict[str, Any]], list[float], float]:
    """The decisions, the time of each answer, and the time of all."""
    decisions: list[dict[str, Any]] = []
    seconds: list[float] = []
    began = time.monotonic()
    with closing(HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)) as connection, Bar(transient=True) as bar:
        task = bar.add_task("sending the day's events", total=len(events))
        for start in range(0, len(events), per_request):
            some = events[start : start + per_request]
            sent = time.monotonic()
            connection.request("POST", "/events", json.dumps(some))
            answer = connection.getresponse()
            content = json.loads(answer.read())
            if answer.status != 200:
                raise FunneliftError(f"the service refused an event: {content}")
            seconds.append(time.monotonic() - sent)
            decisions += content["decisions"]
            bar.update(task, advance=len(some), description=f"{len(decisions):,} decisions")
    return decisions, seconds, time.monotonic() - began


def _table(decisions: list[dict[str, Any]]) -> Table:
    """Count decisions by decision point and by what was done."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for decision in decisions:
        groups[(decision["decision_point"], decision["action"], decision["why"])].append(decision)
    marks = [name for name in ("synthetic", "simulated") if any(row[f"is_{name}"] for row in decisions)]
    title = f"Decisions ({', '.join(marks)})" if marks else "Decisions"
    table = Table("decision point", "action", "why", "decisions", "mean probability", title=title)
    for (point, action, why), rows in sorted(groups.items()):
        chances = [row["probability"] for row in rows if row["probability"] is not None]
        mean = f"{statistics.mean(chances):.2%}" if chances else "-"
        table.add_row(point, action, why, f"{len(rows):,}", mean)
    return table


if __name__ == "__main__":
    sys.exit(main())
