"""`ml.score` on Spark: workers of a cluster score with the models that DuckDB's training saved, to the same rows."""

from pathlib import Path

import pytest

from ml import score
from ml.cli import Progress
from on_spark import OnSpark, is_same, keyed, without_zone
from spark_cluster import Cluster
from training import QUICK, SINCE, train_shop

SCORED = ("conversion_predictions", "uplift_scores")


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
