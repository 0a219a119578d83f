"""The steps of a loop of the live service's tests: send, load the log, build."""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.reacting_shop import Event
from compiled import environment, run_dbt
from ingest import load
from live_server import Client
from training import QUICK, Place

SETTINGS = QUICK | {
    "split": {"min_positives": 5, "embargo_seconds": 3600},
    "experiment": {"decision_point": "engaged", "min_conversions_per_arm": 2, "split": {"min_positives": 5}},
}


def sender(client: Client) -> Any:
    def send(events: list[Event]) -> list[dict[str, Any]]:
        status, answer = client.send(events)
        assert (status, answer["degraded"]) == (200, [])
        return list(answer["decisions"])

    return send


def build(place: Place, command: str) -> None:
    outcome = run_dbt(command, database=place.folder / "warehouse.duckdb")
    assert outcome.success, outcome.errors
    (place.folder / "manifest.json").write_bytes((place.folder / "target" / "manifest.json").read_bytes())


def load_log(place: Place, log: Path) -> None:
    parser = argparse.ArgumentParser()
    load.add_parser(parser.add_subparsers())
    options = parser.parse_args(["load", "--raw", str(log / "raw"), "--mapping", "live/mapping.yml"])
    with environment(FUNNELIFT_TARGET="duckdb", FUNNELIFT_DUCKDB_PATH=str(place.folder / "warehouse.duckdb")):
        assert options.run(options) == 0
