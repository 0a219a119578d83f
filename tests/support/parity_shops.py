"""Shops whose raw files are loaded, built and trained on as users do it, on one engine and another, and compared."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasty_shop import UTC_OFFSET_MINUTES, nasty_world, write_shop
from parity import TOLERANCE, Relation, Warehouse, differences
from paths import ROOT
from warehouse.contract import read_project

CONTRACTS = read_project()
# Load ids are drawn anew for each file, so a load is known by what it loaded.
KEYS = {
    contract.name: contract.grain
    for contract in CONTRACTS.of_layer("seeds", "staging", "build", "intermediate", "marts")
}
KEYS |= {"stg_loads": ("raw_table", "line_count")}
# They are part of what reads them and no tables.
del KEYS["stg_events"], KEYS["stg_refunds"], KEYS["stg_item_properties"]
BI_KEYS = {contract.name: contract.grain for contract in CONTRACTS.of_layer("bi")}
# One training: one run, whose id is one of what follows.
PUBLISHED = {contract.name: contract.grain for contract in CONTRACTS.of_layer("predictions")}
PUBLISHED |= {"ml_runs": (), "uplift_runs": ()}
PREDICTION_TOLERANCE = 1e-6
# Quick, and content with the few buyers that a small shop has in each slice.
TRAINING = {
    "split": {"train_share": 0.6, "calibration_share": 0.2, "min_positives": 5},
    "models": {"catboost": {"max_trees": 60}, "xgboost": {"max_trees": 40}},
    "evaluation": {"bootstrap_resamples": 30},
    "explanation": {"plot_rows": 200},
    "experiment": {"split": {"min_positives": 5}, "min_conversions_per_arm": 1},
    "uplift": {"max_trees": 40, "bootstrap_resamples": 30},
    "policy": {"bootstrap_resamples": 30},
    "planner": {"simulations": 50},
}


@dataclass(frozen=True)
class Built:
    """All that came of a shop's raw files on one engine."""

    relations: dict[str, Relation]
    bi: dict[str, Relation]
    analyses: dict[str, Relation]
    published: dict[str, Relation]


@dataclass(frozen=True)
class Pair:
    """A shop on DuckDB and on another engine."""

    engine: str
    expected: Built
    found: Built


@dataclass(frozen=True)
class RawFiles:
    """What to load, with which settings to build, and whether to train."""

    loads: Sequence[Sequence[str]]
    variables: Mapping[str, Any]
    is_trained_on: bool

    def build(self, warehouse: Warehouse, folder: Path) -> Built:
        """Run the commands as a user does, then read everything they made."""

        def run(*command: str) -> None:
            outcome = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert outcome.returncode == 0, f"on {warehouse.name}: {' '.join(command)}\n{outcome.stdout[-5000:]}"

        environment = {key: value for key, value in os.environ.items() if not key.startswith(("FUNNELIFT_", "DBT_"))}
        environment |= {
            **warehouse.environment,
            "FUNNELIFT_RESULTS": str(folder / "results"),
            "DBT_TARGET_PATH": str(folder / "target"),
            "DBT_LOG_PATH": str(folder / "logs"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        for load in self.loads:
            run(warehouse.python, "-m", "ingest", "load", *load)
        variables = ("--vars", json.dumps(self.variables))
        compiling = ["compile", "--select", "resource_type:analysis", *variables]
        for command in warehouse.dbt([["build", *variables], compiling]):
            run(*command)
        if self.is_trained_on:
            settings = folder / "training.json"
            settings.write_text(json.dumps(TRAINING))
            run(warehouse.python, "-m", "ml.train", "--config", str(settings))
            # The views show what was published, and copies of them have to be made again.
            for command in warehouse.dbt([compiling]) if warehouse.is_copied else ():
                run(*command)
        nodes = json.loads((folder / "target" / "manifest.json").read_text())["nodes"].values()
        made = [
            node["alias"]
            for node in nodes
            if node["resource_type"] in ("model", "seed") and node["config"]["materialized"] != "ephemeral"
        ]
        analyses = (folder / "target" / "compiled" / "funnelift" / "analyses").glob("*.sql")
        read = {table: warehouse.read(table) for table in made if self.is_trained_on or table not in PUBLISHED}
        published = {table: relation for table, relation in read.items() if table in PUBLISHED}
        return Built(
            relations={table: read[table] for table in read if not table.startswith("bi_") and table not in PUBLISHED},
            bi={table: relation for table, relation in read.items() if table.startswith("bi_")},
            analyses={path.stem: warehouse.answer(path) for path in sorted(analyses)},
            published=published if self.is_trained_on else {},
        )


def assert_same(
    pair: Pair,
    kind: str,
    keys: Mapping[str, Sequence[str] | None],
    tolerance: float = TOLERANCE,
) -> None:
    """All relations of a kind are there on both sides and equal; else say where they first differ, and how often."""
    expected, found = getattr(pair.expected, kind), getattr(pair.found, kind)
    assert set(expected) == set(found) == set(keys), "a relation without a contract"
    told = []
    for table, key in keys.items():
        if faults := differences(expected[table], found[table], key, tolerance):
            told.append(f"{table}: {len(faults)} differences, first: {faults[0]}")
    assert not told, "\n".join([f"expected as on DuckDB, found on {pair.engine}:", *told])


def sample(shared_data: Path) -> RawFiles:
    """Part of the RetailRocket data, as it comes."""
    return RawFiles([["--raw", str(shared_data / "retailrocket_sample")]], {}, False)


def nasty(folder: Path, *, is_trained_on: bool) -> RawFiles:
    """The shop that has whatever may go wrong, written to a folder."""
    return RawFiles(write_shop(folder, nasty_world()), {"shop_utc_offset_minutes": UTC_OFFSET_MINUTES}, is_trained_on)


def demo(folder: Path) -> RawFiles:
    """The synthetic shop of the demo, with 30,000 visitors, written to a folder."""
    raw = str(folder / "raw")
    synth = [sys.executable, "-m", "ingest", "synth", "--out", raw, "--visitors", "30000", "--seed", "42"]
    subprocess.run(synth, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return RawFiles([["--raw", raw]], {}, False)
