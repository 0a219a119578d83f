"""Files that a cluster's workers load leave the raw tables that one process leaves, or the same refusal."""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from ingest.inputs import inspect_all
from ingest.judge import check_same
from ingest.load import load
from ingest.raw_tables import RAW_TABLES
from loading import ASSIGNMENTS_HEADER, EVENTS_HEADER, GOOD_LINE
from paths import ROOT
from spark_cluster import PYTHON, Cluster
from warehouse.errors import FunneliftError

TIMED = {"loaded_at", "unloaded_at"}
# Each event's category is a path, so the tree's rows depend on which file comes first.
MAPPING = """
columns: {visitor: user, item: product, event: what, timestamp: at, category: category, price: price}
events: {look: view, basket: addtocart, buy: transaction}
ignore_events: [scroll]
category_path_separator: "."
time_format: iso
"""


def line(user: str, what: str, category: str, day: int, price: float | None = None) -> dict[str, Any]:
    at = f"2026-05-{day:02d} 10:00:00.{day:03d} UTC"
    return {"user": user, "product": "p1", "what": what, "at": at, "category": category, "price": price}


def write_shop(folder: Path) -> None:
    """Files of every format, with lines that are rejected and ignored, and one file twice."""
    folder.mkdir()
    first = [line("a", "look", "shoes.red", 1), line("b", "scroll", "shoes", 2), line("c", "buy", "hats.big", 3, 12.5)]
    with gzip.open(folder / "1-events.jsonl.gz", "wt") as packed:
        packed.write("".join(json.dumps(each) + "\n" for each in first * 200))
        packed.write("no JSON\n")
    pq.write_table(pa.Table.from_pylist([line("d", "basket", "shoes.blue", 4, 0.1)] * 300), folder / "2-events.parquet")
    rows = "".join(f'u{number},look,"p,{number}",2026-05-06T00:00:{number:02d}Z,hats,\n' for number in range(60))
    (folder / "3-events.csv").write_text("user,what,product,at,category,price\n" + rows)
    (folder / "4-again.csv").write_bytes((folder / "3-events.csv").read_bytes())
    (folder / "category_tree.csv").write_text("categoryid,parentid\nshoes,\nhats,shoes\n")
    (folder / "assignments.csv").write_text(ASSIGNMENTS_HEADER + "a,1777629600000,1\nb,1777629600000,0\n")
    (folder.parent / "mapping.yml").write_text(MAPPING)


def load_here(place: Path, *options: str, environment: Mapping[str, str], python: str) -> tuple[int, str]:
    """Load the shop, named from its parent folder; returns the exit code and what was said, without seconds."""
    found = subprocess.run(
        [python, "-m", "ingest", "load", "--raw", "shop", *options], cwd=place, capture_output=True, text=True,
        check=False, env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    # What Java and Spark say when they start.
    starting = re.compile("NOTE: Picked up|Setting (default|Spark) log|To adjust|WARN ")
    lines = [text for text in (found.stdout + found.stderr).splitlines() if not starting.search(text)]
    return found.returncode, "\n".join(re.sub(r" +[0-9]+\.[0-9] *$", "", text) for text in lines)


def on_duckdb(place: Path) -> dict[str, str]:
    return {"FUNNELIFT_TARGET": "duckdb", "FUNNELIFT_DUCKDB_PATH": str(place / "warehouse.duckdb")}


def on_cluster(place: Path, cluster: Cluster) -> dict[str, str]:
    return {
        **cluster.environment, "FUNNELIFT_TARGET": "spark", "FUNNELIFT_SPARK_WAREHOUSE": str(place / "spark"),
    }  # fmt: skip


def raw_rows(connection: duckdb.DuckDBPyConnection, table: str, source: str) -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{column.name}"' for column in RAW_TABLES[table] if column.name not in TIMED)
    return sorted(connection.execute(f"select {names} from {source}").fetchall(), key=repr)


def in_duckdb(place: Path) -> dict[str, list[tuple[Any, ...]]]:
    with duckdb.connect(place / "warehouse.duckdb", read_only=True) as connection:
        return {table: raw_rows(connection, table, f"funnelift_raw.{table}") for table in RAW_TABLES}


def in_files(place: Path) -> dict[str, list[tuple[Any, ...]]]:
    lines = map(json.loads, (place / "spark" / "raw_tables.json").read_text().splitlines())
    with duckdb.connect() as connection:
        return {
            each["name"]: raw_rows(connection, each["name"], f"read_parquet('{each['location']}/*.parquet')")
            for each in lines
        }


def unload(name: str, environment: Mapping[str, str]) -> str:
    found = subprocess.run(
        [sys.executable, "-m", "ingest", "unload", name], cwd=ROOT, capture_output=True, text=True, check=True,
        env=os.environ | environment,
    )  # fmt: skip
    return found.stdout


def test_workers_leave_the_same_rows_rejects_and_summary(spark_cluster: Cluster, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop")
    options = ("--mapping", "mapping.yml", "--max-reject-rate", "0.01")
    expected = load_here(tmp_path, *options, environment=on_duckdb(tmp_path), python=sys.executable)
    found = load_here(tmp_path, *options, environment=on_cluster(tmp_path, spark_cluster), python=str(PYTHON))
    assert expected[0] == 0
    assert found == expected
    rows = in_duckdb(tmp_path)
    assert in_files(tmp_path) == rows
    assert {len(rows[table]) > 0 for table in ("raw_events", "raw_rejects", "raw_treatment_assignments")} == {True}
    pieces = list((tmp_path / "spark" / "raw").glob("*/raw_events/*"))
    assert len(pieces) == 1, "small files of several workers are one"

    (tmp_path / "shop" / "5-events.csv").write_text("user,what,product,at,category,price\nz,look,p,2026-05-07,hats,\n")
    (tmp_path / "shop" / "6-events.csv").write_text("user,what,product,at,category,price\nz,hop,p,2026-05-07T,hats,\n")
    refused = load_here(tmp_path, *options, environment=on_duckdb(tmp_path), python=sys.executable)
    assert refused[0] == 1
    assert "5-events.csv: 1 of 1 lines rejected" in refused[1]
    again = load_here(tmp_path, *options, environment=on_cluster(tmp_path, spark_cluster), python=str(PYTHON))
    assert again == refused
    assert in_files(tmp_path) == rows
    assert len(list((tmp_path / "spark" / "raw").iterdir())) == 1

    # The categories that its events brought go with it, or become the next file's.
    said = [unload("1-events.jsonl.gz", each) for each in (on_duckdb(tmp_path), on_cluster(tmp_path, spark_cluster))]
    assert said[0] == said[1]
    rest = in_duckdb(tmp_path)
    assert in_files(tmp_path) == rest
    assert len(rest["raw_events"]) == len(rows["raw_events"]) - 400


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_worker_that_sees_another_file_refuses_it(tmp_path: Path, is_gone: bool) -> None:
    path = tmp_path / "events.csv"
    path.write_text(EVENTS_HEADER + GOOD_LINE)
    (each,) = inspect_all([path], None, [])
    check_same(each, Path.cwd())
    path.unlink() if is_gone else path.write_text(EVENTS_HEADER + GOOD_LINE * 2)
    told = "a worker cannot read it: No such file" if is_gone else "a worker sees another file of this name"
    with pytest.raises(FunneliftError, match=rf"events\.csv: {told}.*every machine sees them under this name"):
        check_same(each, Path.cwd())


def test_without_spark_a_cluster_is_refused_by_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNNELIFT_SPARK_WAREHOUSE", str(tmp_path / "spark"))
    monkeypatch.setenv("FUNNELIFT_SPARK_MASTER", "spark://127.0.0.1:1")
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(EVENTS_HEADER + GOOD_LINE.replace("79", name))
    with pytest.raises(FunneliftError, match="run `make setup-spark` and activate"):
        load([tmp_path / "a.csv", tmp_path / "b.csv"], Console(quiet=True), target="spark")
    assert not list((tmp_path / "spark" / "raw").glob("*"))
