"""Does the live service's loop close? Shops whose shoppers react, from served decisions to what was learnt.

    nice -n 19 python -m benchmarks.live_loops --folder FOLDER --picture docs/images/live_loops.png

Shoppers react to what the service shows them, and the effects are known (`benchmarks/reacting_shop.py`).

Coverage: fifty shops that share nothing but a warehouse and a service. Chance decides for all; the log is loaded as it
is, `dbt build` makes the marts, and the average effect of each shop is estimated from them by ml.train's own code.

Shoppers visit the service in this process, by the code that answers a request; the first shop visits it over HTTP as
well, and both logs must be equal. FOLDER gets what was found; what it holds already is not done again. What a policy
earns that was learnt so, `benchmarks/live_round_two.py` measures.
"""

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from threadpoolctl import threadpool_limits

from benchmarks import reacting_shop
from benchmarks.live_loops_picture import draw
from benchmarks.measure import measure
from benchmarks.reacting_shop import AVERAGE_EFFECT, Event, Shopper, shoppers, visit
from live.event import parse_events
from live.log import ASSIGNMENTS, DECISIONS, EVENTS, FOLDERS
from live.replay import own_service
from live.service import KEPT, Service
from live.settings import LiveSettings
from ml.cli import Progress
from ml.config import Config, load_config
from ml.data.features import MART, read_mart
from ml.data.rows import build_dataset
from ml.experiment.designed import AverageEffect
from ml.experiment.mart import average_on_mart, from_mart
from warehouse.contract import read_contracts
from warehouse.open import open_warehouse

DAYS = 6
SETTINGS: dict[str, Any] = {
    "split": {"embargo_seconds": 3600},
    "experiment": {"min_conversions_per_arm": 2, "split": {"min_positives": 5}},
    "uplift": {"placebo_runs": 1, "bootstrap_resamples": 50},
    "evaluation": {"bootstrap_resamples": 50},
    "policy": {"bootstrap_resamples": 100},
    "planner": {"simulations": 50},
}
MAPPING = "live/mapping.yml"
Send = Callable[[list[Event]], list[dict[str, Any]]]


class Place:
    """A folder with a warehouse and what belongs to it; commands run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds = 0.0
        self.settings = folder / "settings.json"
        self.settings.write_text(json.dumps(SETTINGS))
        self._environment = {
            "FUNNELIFT_TARGET": "duckdb",
            "FUNNELIFT_DUCKDB_PATH": str(folder / "warehouse.duckdb"),
            "FUNNELIFT_RESULTS": str(folder / "results"),
            "DBT_TARGET_PATH": str(folder / "target"),
            "DBT_LOG_PATH": str(folder / "logs"),
        }

    @property
    def config(self) -> Config:
        """Settings that the commands have too."""
        places = {
            "duckdb_path": self.folder / "warehouse.duckdb", "results": self.folder / "results",
            "manifest": self.folder / "target" / "manifest.json",
        }  # fmt: skip
        return load_config(self.settings, places, {})

    def run(self, *command: str) -> None:
        """Run a module of the project."""
        name = " ".join(part for part in command[:2] if not part.startswith("/"))
        self.seconds += measure(name, [sys.executable, "-m", *command], self._environment).cpu_seconds

    def build(self, raw: Path, *, tested: bool) -> None:
        """Load a folder in the log's format and build the marts."""
        self.run("ingest", "load", "--raw", str(raw), "--mapping", MAPPING)
        self.run("dbt.cli.main", "--quiet", "build" if tested else "run")

    def restore(self) -> None:
        """Go back to the past that all loops share."""
        for name in ("results", "log", "log2"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.folder / "compiled", self.folder / "results" / KEPT)
        shutil.copy(self.folder / "past.duckdb", self.folder / "warehouse.duckdb")

    def prepare(self) -> None:
        """Keep the past that was built, and what the service compiles of it."""
        shutil.copy(self.folder / "warehouse.duckdb", self.folder / "past.duckdb")
        with serving(self.config, LiveSettings(self.folder / "log")):
            pass
        shutil.copytree(self.folder / "results" / KEPT, self.folder / "compiled")


@contextmanager
def serving(config: Config, settings: LiveSettings) -> Iterator[Send]:
    """The service in this process."""
    service = Service(config, settings)
    service.start()

    def send(events: list[Event]) -> list[dict[str, Any]]:
        known = service.known
        assert known is not None
        asked = parse_events(json.dumps(events).encode(), known.shop.facts.kinds)
        return list(service.submit(asked).result()["decisions"])

    try:
        yield send
    finally:
        service.stop()


def logs_are_equal(place: Place, crowd: Sequence[Shopper], settings: LiveSettings) -> bool:
    """Let the same shoppers visit a service of its own process over HTTP, and compare the two logs."""
    options = ["--explore", str(settings.explore_share), "--salt", settings.salt, "--config", str(place.settings)]
    other = place.folder / "http"
    other.mkdir()
    with (
        own_service(place.config, other, Progress(), options) as (port, _),
        closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection,
    ):

        def send(events: list[Event]) -> list[dict[str, Any]]:
            connection.request("POST", "/events", json.dumps(events))
            return list(json.loads(connection.getresponse().read())["decisions"])

        visit(crowd, send)
    own = {shopper.visitor for shopper in crowd}
    kinds = (EVENTS, ASSIGNMENTS, DECISIONS)
    return all(lines_of(own, settings.log, kind) == lines_of(own, other / "log", kind) != [] for kind in kinds)


def lines_of(visitors: set[str], log: Path, kind: str) -> list[str]:
    """The log's lines about some visitors; those of one batch have no order."""
    paths = (log / FOLDERS[kind]).glob(f"{kind}-*.jsonl")
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    name = "visitor_id" if kind == DECISIONS else "visitorid"
    return sorted(line for line in lines if json.loads(line)[name] in visitors)


def coverage(place: Place, shops: int, visitors: int) -> list[dict[str, Any]]:
    """Serve shops by chance, load, build, and estimate each shop's average effect."""
    names = [f"s{number}-" for number in range(shops)]
    reacting_shop.write_history(place.folder / "past", visitors, DAYS, shops=names)
    place.build(place.folder / "past", tested=True)
    settings = LiveSettings(place.folder / "log", salt="coverage", explore_share=1.0, refresh_seconds=3600)
    crowds = [shoppers(number, visitors, DAYS, shop=name) for number, name in enumerate(names)]
    # All shops' visitors together, so that a request holds many.
    together = sorted((shopper for crowd in crowds for shopper in crowd), key=lambda shopper: shopper.comes_ms)
    with serving(place.config, settings) as send:
        visit(together, send)
    is_equal = logs_are_equal(place, crowds[0], settings)
    place.build(settings.log / "raw", tested=True)
    with threadpool_limits(1, user_api="blas"):
        return [{"shop": shop, "visitors": effect.rows[0], "effect": effect.effect, "sequence": effect.sequence,
                 "equal over HTTP": is_equal} for shop, effect in enumerate(effects(place.config, names))]  # fmt: skip


def effects(config: Config, names: Sequence[str]) -> Iterator[AverageEffect]:
    """Estimate each shop's average effect as ml.train does, from the marts and the assignments."""
    mart = read_mart(read_contracts(config.manifest))
    with open_warehouse(config) as warehouse:
        count, batches = warehouse.read(MART, mart.columns)
        data = build_dataset(batches, count, mart)
        found = from_mart(data, mart, warehouse, config.experiment)
    ids = data.identity.column("visitor_id").take(found.rows).to_pylist()
    shop, experiment = np.array([name.split("-")[0] + "-" for name in ids]), found.experiment
    for name in names:
        rows = np.flatnonzero(shop == name)
        own = replace(
            experiment, inputs=experiment.inputs.iloc[rows], treatment=experiment.treatment[rows],
            outcome=experiment.outcome[rows], visitor=experiment.visitor[rows], split=experiment.split[rows],
            stratum=None if experiment.stratum is None else experiment.stratum[rows],
            propensity=None if experiment.propensity is None else experiment.propensity[rows],
        )  # fmt: skip
        effect = average_on_mart(own, config)
        assert effect is not None, "the assignments did not come back"
        yield effect


def summary(covered: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Coverage with its interval, and the mean estimate with its own."""
    found: dict[str, Any] = {"true effect": AVERAGE_EFFECT}
    for name in ("effect", "sequence"):
        bounds = np.array([shop[name] for shop in covered])
        holds = int(((bounds[:, 1] <= AVERAGE_EFFECT) & (bounds[:, 2] >= AVERAGE_EFFECT)).sum())
        exact = stats.binomtest(holds, len(bounds)).proportion_ci()
        found[f"{name}: interval covers"] = f"{holds} of {len(bounds)} [{exact.low:.1%}, {exact.high:.1%}]"
    return found | {"mean effect": mean_of(np.array([shop["effect"][0] for shop in covered]))}


def mean_of(values: "np.ndarray[Any, Any]") -> tuple[float, float, float]:
    """Mean and its interval by Student's t over loops."""
    middle = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return round(middle, 4), round(middle - half, 4), round(middle + half, 4)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Average effects from the service's log, in simulated shops that react."
    )
    parser.add_argument("--folder", type=Path, required=True, help="gets what was found, and the scratch meanwhile")
    parser.add_argument("--shops", type=int, default=50, help="shops whose average effect is estimated")
    parser.add_argument("--visitors", type=int, default=400, help="of each of these")
    parser.add_argument("--picture", type=Path, help="file that gets the picture")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    covered = kept(options.folder / "coverage.jsonl")
    if not covered:
        with scratch(options.folder) as place:
            covered = keep(options.folder / "coverage.jsonl", coverage(place, options.shops, options.visitors))
    found = summary(covered)
    print(json.dumps(found, indent=2))
    if options.picture:
        draw(options.picture, covered, found)


@contextmanager
def scratch(folder: Path) -> Iterator[Place]:
    """A place that is deleted at the end; says what it took."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        place, before = Place(Path(own)), sum(os.times()[:2])
        yield place
        print(f"CPU: {place.seconds + sum(os.times()[:2]) - before:,.0f} s", flush=True)


def kept(path: Path) -> list[dict[str, Any]]:
    """What was found before."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def keep(path: Path, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write down what was found."""
    with path.open("a", encoding="utf-8") as lines:
        lines.writelines(json.dumps(each) + "\n" for each in found)
    return found


if __name__ == "__main__":
    main()
