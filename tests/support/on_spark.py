"""The tables of a folder with a warehouse, once more on Spark, and how rows of both compare."""

import os
import subprocess
from math import isclose
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from paths import ROOT
from spark_cluster import PYTHON, Cluster
from training import Place

TABLES = """
import sys
from pathlib import Path
from warehouse.spark import SparkWarehouse
with SparkWarehouse.open_folder(Path(sys.argv[1])) as warehouse:
    session = warehouse._session
    session.sql("create database funnelift")
    for file in sorted(Path(sys.argv[2]).glob("*.parquet")):
        session.read.parquet(str(file)).repartition(3).write.saveAsTable(f"funnelift.{file.stem}")
"""


class OnSpark:
    """The tables of a place in a Spark warehouse, for its commands."""

    def __init__(self, place: Place, folder: Path, cluster: Cluster) -> None:
        self.folder, self.copies = folder / "warehouse", folder / "copies"
        self.environment = {
            **cluster.environment, "FUNNELIFT_TARGET": "spark", "FUNNELIFT_SPARK_WAREHOUSE": str(self.folder),
            "FUNNELIFT_RESULTS": str(place.folder / "results"), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self.arguments = [
            "--config",
            str(place.folder / "quick.json"),
            "--manifest",
            str(place.folder / "manifest.json"),
        ]
        self.folder.mkdir()
        self.copies.mkdir()
        with duckdb.connect(place.folder / "warehouse.duckdb", read_only=True) as connection:
            names = connection.execute("select table_name from duckdb_tables() where schema_name = 'funnelift'")
            for (name,) in names.fetchall():
                connection.execute(f"copy funnelift.{name} to '{self.copies / f'{name}.parquet'}' (format parquet)")
        self.run("-c", TABLES, str(self.folder), str(self.copies))

    def run(self, *arguments: str, code: int = 0) -> str:
        found = subprocess.run(
            [str(PYTHON), *arguments], env=os.environ | self.environment, cwd=ROOT, capture_output=True, text=True,
            check=False, timeout=900,
        )  # fmt: skip
        assert found.returncode == code, found.stdout[-2000:] + found.stderr[-4000:]
        return found.stdout + found.stderr

    def rows(self, table: str) -> dict[tuple[str, str], dict[str, Any]]:
        return keyed(pq.read_table(self.folder / "funnelift.db" / table).to_pylist())


def keyed(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    found = {(row["session_id"], row["decision_point"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def without_zone(value: Any) -> Any:
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value


def is_same(expected: Any, found: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, float):
        return isclose(expected, found, rel_tol=1e-9)
    return bool(without_zone(expected) == without_zone(found))
