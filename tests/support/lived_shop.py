"""A warehouse that lives: the commands that work on it, what a life is made of, and how it differs from another."""

import csv
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

from parity import Warehouse, differences
from paths import ROOT
from reference import Event
from training import quick_settings
from warehouse.contract import Contract, read_project
from worlds import shop_events

# When the loads were made is all that may differ.
CONTRACTS = [contract for contract in read_project().of_layer("marts", "bi") if contract.name != "bi_status"]
# Numbers that are given once, in the order in which a warehouse met their texts.
NUMBERED = {"visitor_key": "visitor_id", "category_key": "category_id"}
LINE = ["timestamp", "visitorid", "event", "itemid", "transactionid"]


def write(folder: Path, name: str, events: list[Event]) -> Path:
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(LINE)
        writer.writerows(event[: len(LINE)] for event in events)
    return folder / f"{name}.csv"


def life(folder: Path, seed: int) -> Iterator[tuple[str, ...]]:
    """Commands without an end: the shop's days arrive, some late, and what was loaded by mistake is taken back."""
    random = Random(seed)
    events = shop_events(random)
    settings = ["--config", str(quick_settings(folder))]
    late = random.sample(events, len(events) // 5)
    cut = len(events) * 3 // 4
    history = write(folder, "history", [event for event in events[:cut] if event not in late])
    yield "ingest", "load", "--raw", str(history)
    yield "dbt", "build"
    yield "ml.train", *settings, "--force"
    for number in range(10_000):
        arriving = events[cut : cut + 20] + [event for event in random.sample(late, 20) if event < events[cut]]
        cut = min(cut + 20, len(events) - 1)
        file = write(folder, f"day{number}", arriving)
        yield "ingest", "load", "--raw", str(file)
        yield "dbt", "build"
        yield ("ml.train", *settings, "--force") if number % 4 == 0 else ("ml.score", *settings)
        yield ("ml.score", *settings) if number % 4 == 0 else ("ingest", "loads")
        if number % 2 == 0:
            yield "ingest", "unload", file.name


class Shop:
    """A warehouse and the commands that work on it."""

    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self.warehouse, self.folder = warehouse, folder
        folder.mkdir(parents=True)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command, which can be killed with all that it starts."""
        places = {"FUNNELIFT_RESULTS": "results", "DBT_TARGET_PATH": "target", "DBT_LOG_PATH": "logs"}
        environment = {name: str(self.folder / place) for name, place in places.items()}
        python = self.warehouse.python
        words = [str(Path(python).with_name("dbt")), "--no-use-colors", *command[1:]]
        return subprocess.Popen(
            words if command[0] == "dbt" else [python, "-m", *command],
            env={**os.environ, **self.warehouse.environment, **environment},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str) -> str:
        """Run a command to its end, which must be a good one; returns what it said."""
        process = self.start(*command)
        said = process.communicate()[0]
        assert process.returncode == 0, said
        return said

    def run_and_kill(self, seconds: float, *command: str) -> bool:
        """Kill a command after so many seconds; returns whether it was still at work."""
        process = self.start(*command)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        return process.returncode == -signal.SIGKILL

    def load(self, history: Path, *names: str) -> None:
        files = [str(history / name) for name in names]
        self.run("ingest", "load", "--raw", *files, "--mapping", str(history / "mapping.yml"))

    def differs(self, other: "Shop", contracts: list[Contract] = CONTRACTS) -> list[str]:
        """What stands differently in marts and pages, told by table.

        Which visitor has which number follows from the builds; that each has one of its own does not.
        """
        found = []
        for contract in contracts:
            names = [name for name in contract.column_names if name not in NUMBERED]
            tables = [
                shop.warehouse.query(f"select {', '.join(names)} from funnelift.{contract.name}")
                for shop in (other, self)
            ]
            found += [f"{contract.name}: {difference}" for difference in differences(*tables, contract.grain or None)]
            for key, text in NUMBERED.items():
                if {key, text} <= set(contract.column_names):
                    counts = f"count(distinct {key}), count(distinct {text})"
                    pairs = f"select distinct {key}, {text} from funnelift.{contract.name}"
                    (row,) = self.warehouse.query(f"select {counts}, count(*) from ({pairs}) as pairs").rows
                    if len(set(row)) > 1:
                        found.append(f"{contract.name}: {row[0]} {key} and {row[1]} {text} in {row[2]} pairs")
        return found
