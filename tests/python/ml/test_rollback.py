"""Which champion is published: succession, --force, and back again with `ml.rollback`."""

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import ml_mart
from ml import rollback, score, train
from ml.bootstrap import Bootstrap
from ml.cli import Finished, Progress
from ml.conversion.succession import log_loss_difference
from training import CONVERSION, QUICK, Place, copy_of
from warehouse.errors import FunneliftError

SHOWN = ("model_card.md", "metrics/model_metrics.json", "figures/roc.png", "predictions/conversion_predictions.csv")


def only_conversion(place: Place, *, force: bool = False) -> Finished:
    return train.train(place.config(), Progress(), only="conversion", force=force)


def settings(place: Place, **more: Any) -> None:
    (place.folder / "quick.json").write_text(json.dumps(QUICK | more))


def spoil(place: Place) -> None:
    """Give the labels of the first 80 % of the time to other rows at the same decision point: nothing can be learnt."""
    with duckdb.connect(place.folder / "warehouse.duckdb") as connection:
        rows = connection.execute("from funnelift.session_features order by decided_ms, session_id").df()
        early = np.arange(len(rows)) < 0.8 * len(rows)
        for point in rows["decision_point"].unique():
            own = early & (rows["decision_point"] == point).to_numpy()
            labels = rows.loc[own, "has_transaction"].to_numpy()
            rows.loc[own, "has_transaction"] = np.random.default_rng(3).permutation(labels)
        connection.register("spoilt", rows)
        connection.execute(
            "create or replace table funnelift.session_features as "
            "select * replace (decided_date::date as decided_date) from spoilt"
        )


def registry(place: Place) -> list[dict[str, Any]]:
    return place.rows("select * from funnelift.ml_runs order by run_number")


def published(place: Place) -> dict[str, Any]:
    """All that a reader sees of the champion."""
    tables = {name: place.rows(f"select * from funnelift.{name} order by all") for name in CONVERSION[:-1]}
    return tables | {name: (place.folder / "results" / name).read_bytes() for name in SHOWN}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("trained"))
    ml_mart.write(place.folder, ml_mart.marts(5000, seed=31, buy_rate=0.04))
    settings(place)
    only_conversion(place)
    return place


@pytest.fixture
def copy(trained: Place, tmp_path: Path) -> Place:
    return copy_of(trained, tmp_path / "copy")


def test_the_first_run_is_published(trained: Place) -> None:
    (run,) = registry(trained)
    assert (run["run_number"], run["status"], run["compared_run_id"]) == (1, "published", None)
    assert run["published_at"] == run["finished_at"]
    assert run["status_reason"] == "No run was published before it."


def test_a_worse_champion_is_refused_and_what_is_published_stays(
    copy: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    before = published(copy)
    spoil(copy)
    options = ["--config", str(copy.folder / "quick.json"), "--manifest", str(copy.folder / "manifest.json")]
    places = copy.config()
    (copy.folder / "quick.json").write_text(json.dumps(QUICK | {"duckdb_path": str(places.duckdb_path)}))
    code = train.main([*options, "--results", str(places.results), "--only", "conversion"])
    assert code == 3
    told = capsys.readouterr().out.splitlines()[0]
    first, second = registry(copy)
    assert told.startswith(
        f"REFUSED: the champion of run {second['run_id']} does not take the published one's place. Log "
    )
    assert published(copy) == before
    assert (first["status"], second["status"], second["run_number"]) == ("published", "refused", 2)
    assert second["compared_run_id"] == first["run_id"]
    assert 0 < second["log_loss_difference_ci_lower"] < second["log_loss_difference"]
    assert second["published_at"] is None
    assert "worse" in second["status_reason"]
    # The published model still scores, and the refused one can be published by name.
    copy.build("update funnelift.session_features set item_views_7d = 40")
    score.score(copy.config(), Progress())
    assert {row["run_id"] for row in copy.rows("select run_id from funnelift.conversion_predictions")} == {
        first["run_id"]
    }
    rollback.rollback(copy.config(), Progress(), second["run_id"])
    assert [run["status"] for run in registry(copy)] == ["retired", "published"]


def test_force_publishes_a_worse_champion(copy: Place) -> None:
    spoil(copy)
    lines = train.train(copy.config(), Progress(), only="conversion", force=True)
    assert lines.code == 0
    first, second = registry(copy)
    assert (first["status"], second["status"]) == ("retired", "published")
    assert "worse, published by --force" in second["status_reason"]
    assert {row["run_id"] for row in copy.rows("select run_id from funnelift.model_metrics")} == {second["run_id"]}


def test_an_equal_champion_is_published(copy: Place) -> None:
    only_conversion(copy)
    first, second = registry(copy)
    assert (first["status"], second["status"]) == ("retired", "published")
    assert second["log_loss_difference"] == second["log_loss_difference_ci_upper"] == 0
    assert "no worse" in second["status_reason"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("kind", "it learnt from synthetic data, and these are real"),
        ("files", "the files of its model are gone"),
        ("features", "the features have changed"),
        ("predictions", "conversion_predictions holds no predictions of it"),
        ("time", "fewer than 10 converting test rows are later than what it learnt from"),
    ],
)
def test_a_champion_that_cannot_be_compared_makes_way(copy: Place, change: str, reason: str) -> None:
    spoil(copy)
    if change == "kind":
        copy.execute("update funnelift.dataset_summary set is_synthetic = 0")
    elif change == "files":
        shutil.rmtree(copy.models())
    elif change == "features":
        path = copy.folder / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["nodes"]["model.funnelift.session_features"]["columns"]["item_views_7d"]["meta"] = {"role": "status"}
        path.write_text(json.dumps(manifest))
    elif change == "predictions":
        copy.execute("delete from funnelift.conversion_predictions")
    else:
        copy.execute(
            "update funnelift.ml_runs set splits_json = replace(splits_json, '\"test_ms\": 1', '\"test_ms\": 9')"
        )
    only_conversion(copy)
    first, second = registry(copy)
    assert (first["status"], second["status"]) == ("retired", "published")
    assert second["status_reason"] == f"Not compared with run {first['run_id']}: {reason}."
    assert second["compared_run_id"] is None


def test_the_difference_is_paired_and_by_visitor() -> None:
    label, visitor = np.array([1, 0, 0, 1], np.int8), np.array([0, 0, 1, 1], np.int32)
    new, old = np.array([0.5, 0.5, 0.5, 0.5]), np.array([0.8, 0.2, 0.2, 0.8])
    bootstrap = Bootstrap(200, 0.95, 1)
    found = log_loss_difference(new, old, label, visitor, bootstrap)
    # Every row differs by as much, so every resample does: an interval of unpaired losses would be wider.
    assert found.value == pytest.approx(np.log(0.8 / 0.5))
    assert found.ci_lower == pytest.approx(found.value) == found.ci_upper
    assert found.is_worse
    assert not log_loss_difference(old, new, label, visitor, bootstrap).is_worse


@pytest.mark.statistics
def test_equal_models_are_seldom_called_worse() -> None:
    rng, called = np.random.default_rng(5), []
    for _ in range(300):
        visitor = np.repeat(np.arange(400), 3).astype(np.int32)
        truth = rng.beta(1, 9, 400)[visitor]
        label = (rng.random(1200) < truth).astype(np.int8)
        new, old = (np.clip(truth * np.exp(rng.normal(0, 0.3, 400))[visitor], 0.001, 0.999) for _ in range(2))
        called.append(log_loss_difference(new, old, label, visitor, Bootstrap(200, 0.95, 7)).is_worse)
    assert np.mean(called) < 0.06


def test_back_to_an_earlier_run(copy: Place) -> None:
    before = published(copy)
    (first,) = registry(copy)
    settings(copy, models={"catboost": {"max_trees": 5}, "xgboost": {"max_trees": 5}})
    only_conversion(copy, force=True)
    assert published(copy) != before
    lines = rollback.rollback(copy.config(), Progress(), first["run_id"])
    assert lines[0].startswith(f"Run {first['run_id']} is published again")
    after = published(copy)
    # The same rows, splits and reasons as after its own training; only the time at which they were scored is new.
    for name in CONVERSION[:-1]:
        own = [{**row, "scored_at": None} for row in after[name]]
        assert own == [{**row, "scored_at": None} for row in before[name]]
    for name in SHOWN[:-1]:
        assert after[name] == before[name]
    again, other = registry(copy)
    assert (again["status"], other["status"]) == ("published", "retired")
    assert again["published_at"] > first["published_at"]
    assert {**again, "published_at": 0, "status_reason": 0} == {**first, "published_at": 0, "status_reason": 0}
    last = copy.rows("select * from funnelift.score_runs order by score_number")[-1]
    assert (last["action"], last["run_id"], last["scored_table"]) == (
        "rollback",
        first["run_id"],
        "conversion_predictions",
    )
    assert [path for path in (copy.folder / "results").iterdir() if path.name.startswith(".")] == []
    assert "Nothing to score" in score.score(copy.config(), Progress())[0]
    assert rollback.rollback(copy.config(), Progress(), first["run_id"]) == [
        f"Nothing to do: run {first['run_id']} is published."
    ]
    # The next training is compared with the one that came back.
    spoil(copy)
    only_conversion(copy)
    assert [run["status"] for run in registry(copy)] == ["published", "retired", "refused"]


def test_rows_that_came_later_are_new_after_a_rollback(copy: Place) -> None:
    (first,) = registry(copy)
    last = json.loads(first["splits_json"])["ends_ms"]
    day = ml_mart.DAY_MS
    copy.build(
        "insert into funnelift.session_features select * replace (session_id || '9' as session_id, "
        f"decided_ms + {6 * day} as decided_ms) from funnelift.session_features where decided_ms > {last - 5 * day}",
        *(
            f"insert into funnelift.{name} select * replace (session_id || '9' as session_id) from funnelift.{name} "
            "where session_id || '9' in (select session_id from funnelift.session_features)"
            for name in ("sessions", "session_funnels")
        ),
        "create or replace table funnelift.int_decision_points as "
        "select session_id, decision_point from funnelift.session_features",
        "update funnelift.dataset_summary set session_count = (select count(*) from funnelift.sessions), "
        "converting_session_count = (select sum(transaction_count) from funnelift.sessions), conversion_rate = "
        "(select avg(has_transaction) from funnelift.session_funnels)",
    )
    only_conversion(copy, force=True)
    rollback.rollback(copy.config(), Progress(), first["run_id"])
    rows = copy.rows("select dataset_split, is_mature, session_id from funnelift.conversion_predictions")
    later = [row for row in rows if len(row["session_id"].split("-")[1]) == 14]
    assert later
    assert {(row["dataset_split"], row["is_mature"]) for row in later} <= {("new", 1), ("open", 0)}


def test_a_rollback_refuses_what_it_cannot_bring_back(copy: Place) -> None:
    (first,) = registry(copy)
    only_conversion(copy)
    before = published(copy)
    with pytest.raises(FunneliftError, match=r"ml_runs knows no run nobody: `python -m ml\.rollback` lists"):
        rollback.rollback(copy.config(), Progress(), "nobody")
    folder = copy.folder / "results/models" / first["run_id"]
    card = folder / "tables/shap_summary.parquet"
    kept = card.read_bytes()
    card.write_bytes(b"no table")
    with pytest.raises(FunneliftError, match=r"no .*shap_summary.parquet, or it cannot be read: restore the folder"):
        rollback.rollback(copy.config(), Progress(), first["run_id"])
    card.write_bytes(kept)
    (folder / "calibrator.json").write_text("{}")
    with pytest.raises(FunneliftError, match="gate model hash failed"):
        rollback.rollback(copy.config(), Progress(), first["run_id"])
    assert published(copy) == before


def test_the_runs_that_one_can_go_back_to_are_listed(copy: Place, capsys: pytest.CaptureFixture[str]) -> None:
    only_conversion(copy)
    first, second = registry(copy)
    lines = rollback.list_runs(copy.config(), Progress())
    assert [line.split()[:2] for line in lines] == [[second["run_id"], "published"], [first["run_id"], "retired"]]
    shutil.rmtree(copy.folder / "results/models")
    assert "No run to go back to" in rollback.list_runs(copy.config(), Progress())[0]


def test_a_bounded_number_of_runs_keeps_its_models(copy: Place) -> None:
    for _ in range(3):
        train.train(copy.config(models_kept=2), Progress(), only="conversion")
    runs = registry(copy)
    kept = {path.name for path in (copy.folder / "results/models").iterdir()}
    assert kept == {run["run_id"] for run in runs[-2:]}
    # However old it is, the published run keeps its models.
    spoil(copy)
    for _ in range(2):
        train.train(copy.config(models_kept=1), Progress(), only="conversion")
    runs = registry(copy)
    assert [run["status"] for run in runs[-3:]] == ["published", "refused", "refused"]
    kept = {path.name for path in (copy.folder / "results/models").iterdir()}
    assert kept == {runs[-3]["run_id"], runs[-1]["run_id"]}
