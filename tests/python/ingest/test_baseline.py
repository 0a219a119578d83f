"""The figures in seeds/eda_baseline.csv are those of a recount today, and the recount is right where hands follow."""

import csv
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ingest.baseline import recount
from paths import ROOT


def seed_rows(dataset: str) -> dict[str, float]:
    with (ROOT / "seeds" / "eda_baseline.csv").open(encoding="utf-8") as file:
        return {row["metric"]: float(row["expected"]) for row in csv.DictReader(file) if row["dataset"] == dataset}


def printed_rows(folder: Path, dataset: str) -> dict[str, float]:
    command = [sys.executable, "-m", "ingest", "baseline", "--raw", str(folder), "--dataset", dataset]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {row[1]: float(row[2]) for row in csv.reader(output.splitlines())}


def test_sample_rows_are_those_of_the_sample(shared_data: Path) -> None:
    assert printed_rows(shared_data / "retailrocket_sample", "retailrocket_sample") == seed_rows("retailrocket_sample")


def test_demo_rows_are_those_of_the_demo(tmp_path: Path) -> None:
    """Grain: the whole demo as `make demo` writes it; a change of the generator must come with its new figures."""
    command = [sys.executable, "-m", "ingest", "synth", "--out", str(tmp_path), "--visitors", "150000", "--seed", "42"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert printed_rows(tmp_path, "synthetic_demo") == seed_rows("synthetic_demo")


def test_recount_by_hand() -> None:
    events = pd.DataFrame(
        [
            (1_000_000, "a", "view", "1", None),
            (1_000_000, "a", "view", "1", None),  # exact duplicate
            (2_800_000, "a", "addtocart", "1", None),  # 1,800 s later: same session
            (4_600_001, "a", "transaction", "1", "7"),  # 1,800.001 s later: a new one
            (1_500_000, "b", "view", "1", None),
        ],
        columns=["timestamp", "visitorid", "event", "itemid", "transactionid"],
    )
    assert recount(events) == {
        "raw_events": 5,
        "first_event_second": 1000,
        "last_event_second": 4600,
        "events": 4,
        "views": 2,
        "addtocarts": 1,
        "transactions": 1,
        "visitors": 2,
        "cart_visitors": 1,
        "buyers": 1,
        "buyer_rate": 0.5,
        "sessions": 3,
        "cart_sessions": 1,
        "transaction_sessions": 1,
        "conversion_rate": pytest.approx(1 / 3, abs=1e-9),
    }


def test_missing_file_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ingest", "baseline", "--raw", str(tmp_path), "--dataset", "x"]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "events.csv" in failed.stderr
