"""A training on marts with rows of an implausible time: they are scored, counted and named, and nothing else."""

import json
from pathlib import Path

import pandas as pd

import ml_mart
from ml import train
from ml.cli import Progress
from training import QUICK, Place

DAY_MS = 86_400_000
BACK_MS = 5000 * DAY_MS


def test_rows_of_an_implausible_time_are_scored_and_do_not_train(tmp_path: Path) -> None:
    """The first day's sessions are put 5,000 days back, as if their devices had been reset."""
    tables = ml_mart.marts(5000, seed=31, buy_rate=0.04)
    features, summary = tables["session_features"], tables["dataset_summary"]
    first_ms = int(features["decided_ms"].min()) + DAY_MS
    stray = features["decided_ms"] < first_ms
    features.loc[stray, "decided_ms"] -= BACK_MS
    features["decided_at"] = pd.to_datetime(features["decided_ms"], unit="ms")
    summary["first_plausible_ms"] = first_ms
    summary["first_plausible_at"] = pd.to_datetime(summary["first_plausible_ms"], unit="ms")
    summary["implausible_event_count"] = 1234
    summary["implausible_visitor_id"] = "reset"
    summary["implausible_event_at"] = pd.Timestamp("2000-01-01")

    place = Place(tmp_path)
    ml_mart.write(place.folder, tables)
    (place.folder / "quick.json").write_text(json.dumps(QUICK))
    findings = "\n".join(train.train(place.config(), Progress()).lines)

    counts = place.rows(
        f"""
        select decided_at < make_timestamp({first_ms} * 1000) as is_stray, dataset_split, count(*) as n,
            count(probability) as scored, count(reason_1) as explained
        from funnelift.conversion_predictions group by 1, 2
        """
    )
    by_split = {row["dataset_split"]: row for row in counts if row["is_stray"]}
    assert set(by_split) == {"implausible"}
    row = by_split["implausible"]
    assert row["n"] == row["scored"] == row["explained"] == stray.sum() > 20
    assert "implausible" not in {row["dataset_split"] for row in counts if not row["is_stray"]}

    (run,) = place.rows("select * from funnelift.ml_runs")
    assert run["implausible_row_count"] == stray.sum()
    splits = ("train", "calibration", "test", "embargo", "open", "implausible")
    assert sum(run[f"{name}_row_count"] for name in splits) == run["feature_row_count"] == len(features)
    # The span is that of the others, so the shares are as without them.
    assert 0.6 < run["train_row_count"] / len(features) < 0.75

    told = "1,234 events have an implausible time, such as one of visitor reset at 2000-01-01 00:00:00"
    assert told in findings
    assert told in (place.folder / "results" / "model_card.md").read_text()
    scores = place.rows("select dataset_split, count(*) as n from funnelift.uplift_scores group by 1")
    at_landing = (stray & (features["decision_point"] == "landing")).sum()
    assert {row["dataset_split"]: row["n"] for row in scores}["implausible"] == at_landing
    (uplift,) = place.rows("select warnings_json, test_first_at, sessions_per_day from funnelift.uplift_runs")
    assert f"{at_landing} rows of an implausible time left out" in uplift["warnings_json"]
