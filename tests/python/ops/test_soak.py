"""A command that is killed at any moment, and run once more, leaves what an undisturbed one leaves.

Two shops live the same life. In one every command is killed first, at a moment drawn from how long the other
took for it. `make soak` does it many times; the tests do it once for each command. The life that nobody disturbs is
lived once for both engines.
"""

import os
import shutil
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

import pytest

from contracts import PUBLISHED
from lived_shop import CONTRACTS, Shop, life
from parity import Warehouse, on_duckdb, on_server
from servers import start_private_mariadb

pytestmark = pytest.mark.end_to_end
# How many commands are killed on each engine.
KILLS = {
    "duckdb": int(os.environ.get("SOAK_DUCKDB", "5")),
    "mysql": int(os.environ.get("SOAK_MYSQL", "5")),
}
# Commands that both shops begin with: load, build, train.
BEGINNING = 3
# What lists trainings and scorings: one that was killed once it had published, and was run again, stands there twice.
LISTS = {"ml_runs", "uplift_runs", "score_runs"}
COMPARED = [
    contract
    for contract in (*CONTRACTS, *PUBLISHED.values())
    if contract.name not in LISTS and not contract.name.startswith("drift_")
]
# What a reader looks at: tables whose two sums belong together.
SUMS = {
    "sessions": "event_count",
    "session_funnels": "has_transaction",
    "session_features": "events_so_far",
    "conversion_predictions": "is_mature",
    "uplift_scores": "outcome",
}
LEFT_OVERS = ("__", ".tmp", ".part", ".wal")


def look(warehouse: Warehouse, table: str) -> tuple[int, int]:
    """How many rows a table has, and a sum over them."""
    rows, total = warehouse.query(f"select count(*) as n, sum({SUMS[table]}) as total from funnelift.{table}").rows[0]
    return int(rows), int(total or 0)


def looks(warehouse: Warehouse) -> dict[str, tuple[int, int]]:
    return {table: look(warehouse, table) for table in SUMS}


@dataclass
class Reader:
    """Someone who reads all the time; on DuckDB a file that is being written cannot be read."""

    warehouse: Warehouse
    seen: dict[str, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    reads: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    faults: list[str] = field(default_factory=list)

    def __enter__(self) -> "Reader":
        self.thread = threading.Thread(target=self.read)
        if self.warehouse.name != "DuckDB":
            self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        if self.warehouse.name != "DuckDB":
            self.thread.join()

    def read(self) -> None:
        try:
            while not self.stopped.wait(0.05):
                for table in SUMS:
                    self.seen[table].add(look(self.warehouse, table))
                    self.reads += 1
        except Exception as error:
            self.faults.append(repr(error))


@dataclass
class Calm:
    """The life that nobody disturbs, on DuckDB: lived as far as it is asked for, and kept as it stood at each step."""

    folder: Path
    steps: list[tuple[tuple[str, ...], float, Shop]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seed = int(os.environ.get("SOAK_SEED", "7"))
        self.database = self.folder / "calm.duckdb"
        self.shop = Shop(on_duckdb(self.database), self.folder / "calm")
        self.life = life(self.folder, self.seed)

    def step(self, number: int) -> tuple[tuple[str, ...], float, Shop]:
        """A command, the seconds that it took, and the shop as it left it."""
        while len(self.steps) <= number:
            command, began = next(self.life), time.monotonic()
            self.shop.run(*command)
            took, kept = time.monotonic() - began, self.folder / f"step{len(self.steps)}"
            left = Shop(on_duckdb(kept / self.database.name), kept)
            shutil.copy(self.database, kept)
            self.steps.append((command, took, left))
        return self.steps[number]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    return Calm(tmp_path_factory.mktemp("calm"))


def left_behind(shop: Shop) -> list[str]:
    """Files and tables that only a command at work may have."""
    files = [path.name for path in shop.folder.rglob("*") if path.relative_to(shop.folder).parts[0] == "results"]
    tables = shop.warehouse.query(
        "select table_name from information_schema.tables where table_schema in ('funnelift', 'funnelift_raw')"
    ).rows
    claimed = "select build_id from funnelift.build_claim" if ("build_claim",) in tables else None
    return [
        *(name for name in files if name.startswith(".") or name.endswith(LEFT_OVERS[1:])),
        *(name for (name,) in tables if LEFT_OVERS[0] in name),
        *(f"claim of {build}" for (build,) in (shop.warehouse.query(claimed).rows if claimed else [])),
    ]


@pytest.mark.parametrize("target", ["duckdb", pytest.param("mysql", marks=pytest.mark.server)])
def test_what_was_killed_and_run_again_equals_what_was_never_disturbed(target: str, calm: Calm, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    server = start_private_mariadb(tmp_path / "server") if target == "mysql" else None
    try:
        warehouse = on_server(server) if server else on_duckdb(tmp_path / "soaked.duckdb")
        soak(calm, Shop(warehouse, tmp_path / "soaked"), target)
    finally:
        if server is not None:
            server.stop()


def soak(calm: Calm, soaked: Shop, target: str) -> None:
    """Live the same life as the calm shop, and kill each command first."""
    moments, table, reads = Random(calm.seed), Counter[tuple[str, str]](), 0
    for number in count():
        command, took, beside = calm.step(number)
        if number < BEGINNING or command == ("ingest", "loads"):
            # What both begin with.
            soaked.run(*command)
            continue
        before, what = looks(soaked.warehouse), " ".join(command[:2] if command[0] == "ingest" else command[:1])
        with Reader(soaked.warehouse) as reader:
            killed = soaked.run_and_kill(moments.uniform(0.1, 1) * took, *command)
            if target == "duckdb":
                for name, sums in looks(soaked.warehouse).items():
                    reader.seen[name].add(sums)
            # A withdrawal that was killed once it had happened is refused.
            again = soaked.start(*command)
            said = again.communicate()[0]
        assert again.returncode == 0 or (command[1] == "unload" and "no longer loaded" in said), said
        assert reader.faults == []
        table[what, "killed" if killed else "ended before"] += 1
        reads += reader.reads
        assert soaked.differs(beside, COMPARED) == [], command
        after = looks(soaked.warehouse)
        for name, seen in reader.seen.items():
            assert seen <= {before[name], after[name]}, (command, name)
        assert left_behind(soaked) == []
        print(f"{target} | {number} | {what} | {'killed' if killed else 'ended before'}", flush=True)
        if sum(times for (_, how), times in table.items() if how == "killed") >= KILLS[target]:
            break
    for (what, how), times in sorted(table.items()):
        print(f"{target} | {what} | {how} | {times}")
    print(f"{target} | reads beside | {reads}")
