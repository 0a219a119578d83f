"""`ml.score` on Spark: workers of a cluster score with the models that DuckDB's training saved, to the same rows."""

import os
import subprocess
from math import isclose
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from ml import score
from ml.cli import Progress
from paths import ROOT
from spark_cluster import PYTHON, Cluster
from training import QUICK, Place, train_shop

# What the shop has become since the training: a visitor less, features that moved, sessions that closed.
SINCE = (
    "delete from funnelift.session_features where visitor_id = "
    "(select min(visitor_id) from funnelift.session_features)",
    "update funnelift.session_features set item_price = item_price * 2 where hash(session_id) % 5 = 0",
    "update funnelift.session_features set is_mature = 1",
)
STAMP = ("run_id", "model_version", "scored_at")
SCORED = ("conversion_predictions", "uplift_scores")
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


@pytest.mark.long
def test_workers_score_to_the_same_rows(
    tmp_path: Path, spark_cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    (tmp_path / "shop").mkdir()
    place = train_shop(tmp_path / "shop", 2500, 17, 0.06, QUICK)
    trained = {table: keyed(place.rows(f"select * from funnelift.{table}")) for table in SCORED}
    place.build(*SINCE)
    spark = OnSpark(place, tmp_path, spark_cluster)
    told = score.score(place.config(), Progress())
    said = spark.run("-m", "ml.score", *spark.arguments)
    # What changed, row by row and as it is told, is the same; rows that did not keep their stamp.
    assert all(line in said.replace("\n", " ") for line in told if "rows" in line)
    for table in SCORED:
        expected, found = keyed(place.rows(f"select * from funnelift.{table}")), spark.rows(table)
        assert expected.keys() == found.keys()
        kept = {
            key for key, row in expected.items() if row["scored_at"] == trained[table].get(key, {}).get("scored_at")
        }
        assert 0 < len(kept) < len(expected)
        for key, row in expected.items():
            names = row if key in kept else [name for name in row if name not in ("run_id", "scored_at")]
            assert not [name for name in names if not is_same(row[name], found[key][name])], (table, key)
        assert all(without_zone(found[key]["scored_at"]) > row["scored_at"] for key, row in trained[table].items()
                   if key in found and key not in kept)  # fmt: skip
    assert "Nothing to score" in spark.run("-m", "ml.score", *spark.arguments)
