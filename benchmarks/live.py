"""`python -m benchmarks.live`: the live service under load on loopback, with the history of a built warehouse.

Each of many clients keeps one connection and sends one event at a time. With --rate all of them together send so many a
second, and an answer's time counts from the moment when its event was due; without it each sends the next event when it
has its answer. Every third visitor is known to the warehouse. Events go on where the warehouse's end.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from live.replay import own_service
from ml.cli import Progress, parse_arguments, run
from ml.config import Config
from warehouse.open import open_warehouse

IDS_SQL = "select {name} as id from funnelift.{table} order by {key} limit {most}"
CLOCK_SQL = "select high_water_mark_ms from funnelift.int_clock"
MOST_IDS = 50_000
EVENTS_A_VISITOR = 3


@dataclass(frozen=True)
class Load:
    """What is sent: by how many clients, how long, how fast (0: as fast as they can), of whom, from when on."""

    clients: int
    warm_up: float
    seconds: float
    rate: float
    visitors: list[str]
    items: list[str]
    clock_ms: int


def main() -> int:
    options = parse_arguments("benchmarks.live", __doc__ or "", None, _add_options)
    return run(options, lambda config, progress: measure(config, progress, options))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", type=int, default=100, metavar="N", help="connections at once (default: 100)")
    parser.add_argument("--seconds", type=float, default=20, metavar="N", help="how long (default: 20)")
    parser.add_argument("--warm-up", type=float, default=10, metavar="N", help="seconds before that (default: 10)")
    parser.add_argument(
        "--rate", type=float, default=0, metavar="N", help="events a second (default: as many as can be)"
    )


def measure(config: Config, progress: Progress, options: argparse.Namespace) -> list[str]:
    """Load the service, and say what it took."""
    with progress.step("reading some visitors and items"), open_warehouse(config) as warehouse:
        visitors, items = (
            [row["id"] for row in warehouse.query(IDS_SQL.format(name=name, table=table, key=key, most=MOST_IDS))]
            for name, table, key in (
                ("visitor_id", "int_visitors", "visitor_key"),
                ("item_id", "int_items", "item_key"),
            )
        )
        clock_ms = int(warehouse.query(CLOCK_SQL)[0]["high_water_mark_ms"])
    load = Load(options.clients, options.warm_up, options.seconds, options.rate, visitors, items, clock_ms)
    with tempfile.TemporaryDirectory() as folder, own_service(config, Path(folder), progress) as (port, process):
        idle = _memory_mb(process)
        with progress.step(f"{load.clients} clients for {load.warm_up:g} + {load.seconds:g} s"):
            times, cpu = asyncio.run(_load(port, process, load))
        loaded = _memory_mb(process)
    times.sort()
    median, late = times[len(times) // 2], times[int(len(times) * 0.99)]
    return [
        f"{len(times):,} events answered, {len(times) / load.seconds:,.0f} a second; answer: median "
        f"{median * 1000:.0f} ms, 99 % {late * 1000:.0f} ms; CPU of the service: {cpu / len(times) * 1000:.2f} ms an "
        f"event; memory {idle:,.0f} MB before, {loaded:,.0f} MB after; load average {os.getloadavg()[0]:.1f}."
    ]


async def _load(port: int, process: int, load: Load) -> tuple[list[float], float]:
    """The time of each answer after the warm-up, and the service's CPU seconds since then."""
    began = time.monotonic()
    clients = [asyncio.create_task(_client(port, number, began, load)) for number in range(load.clients)]
    await asyncio.sleep(load.warm_up)
    cpu = _cpu_seconds(process)
    found = await asyncio.gather(*clients)
    return [each for times in found for each in times], _cpu_seconds(process) - cpu


async def _client(port: int, number: int, began: float, load: Load) -> list[float]:
    random, times, sent = Random(number), list[float](), 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    from_, until = began + load.warm_up, began + load.warm_up + load.seconds
    while True:
        due = time.monotonic()
        if load.rate:
            due = began + (sent * load.clients + number) / load.rate
            await asyncio.sleep(due - time.monotonic())
        if due >= until:
            break
        writer.write(_request(random, number, sent, load, due - began))
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        if due >= from_:
            times.append(time.monotonic() - due)
        sent += 1
    writer.close()
    return times


def _request(random: Random, number: int, sent: int, load: Load, passed: float) -> bytes:
    visit = sent // EVENTS_A_VISITOR
    name = f"{number}-{visit}"
    event = {
        "visitorid": Random(name).choice(load.visitors) if visit % 3 == 0 else f"bench-{name}",
        "event": "view",
        "itemid": random.choice(load.items),
        "event_id": f"{number}-{sent}",
        "timestamp": load.clock_ms + int(passed * 1000),
    }
    body = json.dumps(event).encode()
    return b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _memory_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    sys.exit(main())
