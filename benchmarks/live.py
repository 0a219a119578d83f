"""`python -m benchmarks.live`: the live service under load on loopback, with the history of a built warehouse.

Each of many clients keeps one connection and sends one event at a time, the next when it has its answer. Every third
visitor is known to the warehouse.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from live.replay import own_service
from ml.cli import Progress, parse_arguments, run
from ml.config import Config
from warehouse.open import open_warehouse

IDS_SQL = "select {name} as id from funnelift.{table} order by {key} limit {most}"
MOST_IDS = 50_000
EVENTS_A_VISITOR = 3


def main() -> int:
    options = parse_arguments("benchmarks.live", __doc__ or "", None, _add_options)
    return run(options, lambda config, progress: measure(config, progress, options.clients, options.seconds))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", type=int, default=100, metavar="N", help="connections at once (default: 100)")
    parser.add_argument("--seconds", type=float, default=20, metavar="N", help="how long (default: 20)")


def measure(config: Config, progress: Progress, clients: int, seconds: float) -> list[str]:
    """Load the service, and say what it took."""
    with progress.step("reading some visitors and items"), open_warehouse(config) as warehouse:
        visitors, items = (
            [row["id"] for row in warehouse.query(IDS_SQL.format(name=name, table=table, key=key, most=MOST_IDS))]
            for name, table, key in (
                ("visitor_id", "int_visitors", "visitor_key"),
                ("item_id", "int_items", "item_key"),
            )
        )
    with tempfile.TemporaryDirectory() as folder, own_service(config, Path(folder), progress) as (port, process):
        idle = _memory_mb(process)
        with progress.step(f"{clients} clients for {seconds:g} s"):
            began, cpu = time.monotonic(), _cpu_seconds(process)
            times = sorted(asyncio.run(_load(port, clients, seconds, visitors, items)))
            whole, cpu = time.monotonic() - began, _cpu_seconds(process) - cpu
        loaded = _memory_mb(process)
    median, late = times[len(times) // 2], times[int(len(times) * 0.99)]
    return [
        f"{len(times):,} events answered, {len(times) / whole:,.0f} a second; answer: median {median * 1000:.0f} ms, "
        f"99 % {late * 1000:.0f} ms; CPU of the service: {cpu / len(times) * 1000:.2f} ms an event; "
        f"memory {idle:,.0f} MB before, {loaded:,.0f} MB after."
    ]


async def _load(port: int, clients: int, seconds: float, visitors: list[str], items: list[str]) -> list[float]:
    until = time.monotonic() + seconds
    found = await asyncio.gather(*(_client(port, number, until, visitors, items) for number in range(clients)))
    return [each for times in found for each in times]


async def _client(port: int, number: int, until: float, visitors: list[str], items: list[str]) -> list[float]:
    random, times, sent = Random(number), list[float](), 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        visit = sent // EVENTS_A_VISITOR
        visitor = random.choice(visitors) if visit % 3 == 0 else f"bench-{number}-{visit}"
        event = {"visitorid": visitor, "event": "view", "itemid": random.choice(items), "event_id": f"{number}-{sent}"}
        body = json.dumps(event).encode()
        began = time.monotonic()
        writer.write(b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        times.append(time.monotonic() - began)
        sent += 1
    writer.close()
    return times


def _memory_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    sys.exit(main())
