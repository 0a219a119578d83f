"""`ml.score` after a build: only what changed, both tables, nothing left of sessions that are no more."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ml import score, train
from ml.cli import Progress
from training import QUICK, Place, copy_of, train_shop
from warehouse.errors import FunneliftError

PREDICTED = "conversion_predictions"
TABLES = (PREDICTED, "uplift_scores")
# A visitor in each of these groups, by the last digit of the id.
SOME = "right(visitor_id, 1) in ('3', '7')"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return train_shop(tmp_path_factory.mktemp("trained"), 5000, 31, 0.04, QUICK)


@pytest.fixture
def copy(trained: Place, tmp_path: Path) -> Place:
    return copy_of(trained, tmp_path / "copy")


def table(place: Place, name: str) -> dict[tuple[str, str], dict[str, Any]]:
    rows = place.rows(f"select * from funnelift.{name}")
    return {(row["session_id"], row["decision_point"]): row for row in rows}


def runs(place: Place) -> list[dict[str, Any]]:
    return place.rows("select * from funnelift.score_runs order by score_number, scored_table")


def counted(place: Place) -> dict[str, tuple[int, int, int]]:
    """What the last scoring did to each table."""
    last = runs(place)[-1]["score_number"]
    return {
        row["scored_table"]: (row["rows_added"], row["rows_changed"], row["rows_removed"])
        for row in runs(place)
        if row["score_number"] == last
    }


def unlike(before: dict[Any, dict[str, Any]], after: dict[Any, dict[str, Any]]) -> set[Any]:
    return {key for key in before.keys() & after.keys() if before[key] != after[key]}


def test_a_training_says_up_to_which_build_its_predictions_are(trained: Place) -> None:
    found = [(row["scored_table"], row["action"], row["build_number"], row["rows_added"]) for row in runs(trained)]
    assert found == [(name, "train", 1, len(table(trained, name))) for name in TABLES]


def test_after_a_build_that_changed_nothing_every_row_is_the_same(copy: Place) -> None:
    before = {name: table(copy, name) for name in TABLES}
    assert "Nothing to score" in score.score(copy.config(), Progress())[0]
    assert len(runs(copy)) == 2
    copy.build()
    score.score(copy.config(), Progress())
    assert {name: table(copy, name) for name in TABLES} == before
    assert counted(copy) == dict.fromkeys(TABLES, (0, 0, 0))
    assert {row["build_number"] for row in runs(copy)} == {1, 2}
    assert "Nothing to score: all predictions are up to build 2" in score.score(copy.config(), Progress())[0]


def test_new_rows_come_in_and_rows_of_sessions_that_are_no_more_go(copy: Place) -> None:
    """A late event moves the start of sessions, and with it their names."""
    before = {name: table(copy, name) for name in TABLES}
    renamed = f"session_id = session_id || '9' where {SOME}"
    copy.build(
        *(f"update funnelift.{name} set {renamed}" for name in ("session_features", "sessions", "session_funnels")),
        changed=SOME,
    )
    lines = score.score(copy.config(), Progress())
    assert lines[0].startswith("SYNTHETIC data: conversion_predictions, by ")
    mart = table(copy, "session_features")
    for name in TABLES:
        after = table(copy, name)
        points = {point for _, point in before[name]}
        assert set(after) == {key for key in mart if key[1] in points}
        gone, new = before[name].keys() - after.keys(), after.keys() - before[name].keys()
        assert counted(copy)[name] == (len(new), 0, len(gone))
        assert len(new) == len(gone) > 500
        splits = {"uplift_scores": {"outside", "open"}, PREDICTED: {"new", "open"}}[name]
        assert {after[key]["dataset_split"] for key in new} <= splits
        assert not unlike(before[name], after)
        # The same features give the same score, but for rows learnt from, which models of other folds have scored.
        learnt = {"uplift_scores": ("train", "calibration"), PREDICTED: ("train",)}[name]
        for key in new:
            was, now = before[name][key[0][:-1], key[1]], after[key]
            if was["dataset_split"] not in learnt:
                column = "probability" if name == PREDICTED else "score"
                assert now[column] == was[column]
                assert (now["run_id"], now["model_version"]) == (was["run_id"], was["model_version"])
    scored = {key: row for key, row in table(copy, "uplift_scores").items() if key not in before["uplift_scores"]}
    assert {(row["treatment"], row["outcome"]) for row in scored.values()} == {(None, None)}
    assert {row["quadrant"] for row in scored.values()} <= {"persuadable", "sure thing", "lost cause", "sleeping dog"}
    assert {row["is_simulated"] for row in scored.values()} == {1}
    published = copy.rows("select chosen_share_percent from funnelift.uplift_runs where status = 'published'")
    share = published[0]["chosen_share_percent"]
    assert all(row["treat"] == (row["uplift_percentile"] >= (100 - share) / 100) for row in scored.values())
    assert "Nothing to score" in score.score(copy.config(), Progress())[0]


def test_rows_whose_features_changed_are_scored_anew_and_keep_their_split(copy: Place) -> None:
    before = {name: table(copy, name) for name in TABLES}
    copy.build(
        f"update funnelift.session_features set item_price = item_price * 3 + 1, item_views_7d = 40 where {SOME}",
        changed=SOME,
    )
    score.score(copy.config(), Progress())
    for name in TABLES:
        after = table(copy, name)
        assert after.keys() == before[name].keys()
        changed = unlike(before[name], after)
        assert counted(copy)[name] == (0, len(changed), 0)
        assert len(changed) > 100
        assert {after[key]["visitor_id"][-1] for key in changed} == {"3", "7"}
        for key in changed:
            was, now = before[name][key], after[key]
            assert now["dataset_split"] == was["dataset_split"]
            assert now["scored_at"] > was["scored_at"]
            for column in ("treatment", "outcome"):
                assert now.get(column) == was.get(column)
        splits = {was["dataset_split"] for was in (before[name][key] for key in changed)}
        assert splits >= {"train", "calibration", "test", "embargo"}
    predictions = table(copy, PREDICTED)
    assert {row["reason_1"] is None for row in predictions.values() if row["dataset_split"] == "train"} == {True}
    assert None not in {row["reason_1"] for row in predictions.values() if row["dataset_split"] != "train"}


def test_a_training_row_keeps_its_cross_fitted_score_while_its_features_stay(copy: Place) -> None:
    before = table(copy, "uplift_scores")
    copy.build(f"update funnelift.session_features set decision_hour = 23 - decision_hour where {SOME}")
    score.score(copy.config(), Progress())
    after = table(copy, "uplift_scores")
    train_rows = {key for key, row in before.items() if row["dataset_split"] == "train"}
    same = {key for key in train_rows if before[key]["visitor_id"][-1] not in ("3", "7")}
    assert len(same) > 1000
    assert all(after[key] == before[key] for key in same)
    assert any(after[key]["score"] != before[key]["score"] for key in train_rows - same)


def test_a_session_that_is_over_becomes_new_and_its_label_known(copy: Place) -> None:
    before = {name: table(copy, name) for name in TABLES}
    opened = [key for key, row in before[PREDICTED].items() if row["dataset_split"] == "open"]
    assert opened
    copy.build(
        "update funnelift.session_features set is_mature = 1",
        changed="visitor_id in (select visitor_id from funnelift.conversion_predictions where dataset_split = 'open')",
    )
    score.score(copy.config(), Progress())
    predictions, scores = table(copy, PREDICTED), table(copy, "uplift_scores")
    mart = table(copy, "session_features")
    assert counted(copy)[PREDICTED] == (0, len(opened), 0)
    for key in opened:
        assert (predictions[key]["dataset_split"], predictions[key]["is_mature"]) == ("new", 1)
        assert predictions[key]["has_transaction"] == mart[key]["has_transaction"]
        assert predictions[key]["probability"] == before[PREDICTED][key]["probability"]
    ended = [key for key in opened if key in scores]
    assert ended
    assert {scores[key]["dataset_split"] for key in ended} == {"outside"}


def test_a_session_that_runs_again_keeps_its_split_and_has_no_label(copy: Place) -> None:
    again = f"{SOME} and session_id in (select session_id from funnelift.{PREDICTED} where dataset_split = 'test')"
    copy.build(f"update funnelift.session_features set is_mature = 0 where {again}", changed=SOME)
    running = {key for key, row in table(copy, "session_features").items() if row["is_mature"] == 0}
    score.score(copy.config(), Progress())
    for name, label in ((PREDICTED, "has_transaction"), ("uplift_scores", "outcome")):
        tested = [row for row in table(copy, name).values() if row["dataset_split"] == "test"]
        assert tested
        assert None in {row[label] for row in tested}
        assert all(row[label] is None for row in tested if (row["session_id"], row["decision_point"]) in running)
    # What values the test split passes over them.
    train.train(copy.config(), Progress(), only="policy")


def test_all_sessions_of_a_visitor_may_go(copy: Place) -> None:
    copy.build(
        *(f"delete from funnelift.{name} where {SOME}" for name in ("session_features", "sessions", "session_funnels")),
        changed=SOME,
    )
    score.score(copy.config(), Progress())
    for name in TABLES:
        assert {row["visitor_id"][-1] for row in table(copy, name).values()} == set("01245689")
        assert counted(copy)[name][:2] == (0, 0)


def test_a_full_build_may_forget_visitors(copy: Place) -> None:
    copy.build(
        *(f"delete from funnelift.{name} where {SOME}" for name in ("session_features", "sessions", "session_funnels")),
        f"delete from funnelift.visitor_changes where {SOME}",
    )
    score.score(copy.config(), Progress())
    for name in TABLES:
        assert {row["visitor_id"][-1] for row in table(copy, name).values()} == set("01245689")


def test_a_warehouse_that_was_made_anew_is_compared_whole(copy: Place) -> None:
    """Numbers begin at 1 again where somebody dropped the schema of the marts."""
    copy.execute("update funnelift.score_runs set build_number = 7")
    copy.execute(f"update funnelift.session_features set item_price = item_price * 3 + 1 where {SOME}")
    score.score(copy.config(), Progress())
    assert counted(copy)[PREDICTED][1] > 300


def test_a_conversion_training_alone_leaves_uplift_scores_behind_and_they_catch_up(copy: Place) -> None:
    copy.build(f"update funnelift.session_features set item_price = item_price * 3 + 1 where {SOME}", changed=SOME)
    train.train(copy.config(), Progress(), only="conversion", force=True)
    before = table(copy, PREDICTED)
    score.score(copy.config(), Progress())
    assert table(copy, PREDICTED) == before
    assert counted(copy)["uplift_scores"][1] > 100
    assert "Nothing to score" in score.score(copy.config(), Progress())[0]


@pytest.mark.parametrize("name", ["calibrator.json", "features.json", "champion", "uplift_ranks.npy", "uplift.json"])
def test_score_refuses_changed_or_missing_files(copy: Place, name: str) -> None:
    copy.build()
    before = runs(copy)
    if name == "champion":
        name = copy.rows("select champion_file from funnelift.ml_runs")[0]["champion_file"]
    path = copy.models() / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(FunneliftError, match=f"gate model hash failed: .*{name}: expected sha256 .* found"):
        score.score(copy.config(), Progress())
    path.unlink()
    with pytest.raises(FunneliftError, match=f"no .*{name}: point --results"):
        score.score(copy.config(), Progress())
    assert runs(copy) == before


def test_score_refuses_other_features(copy: Place) -> None:
    path = copy.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    columns = manifest["nodes"]["model.funnelift.session_features"]["columns"]
    columns["item_price"]["meta"]["kind"] = "categorical"
    columns["item_views_7d"]["meta"] = {"role": "status"}
    path.write_text(json.dumps(manifest))
    with pytest.raises(FunneliftError, match=r"gate features failed: .*item_price changed, item_views_7d is gone"):
        score.score(copy.config(), Progress())


def test_score_refuses_without_a_training_and_with_another_data_set(copy: Place) -> None:
    copy.execute("update funnelift.dataset_summary set is_synthetic = 0")
    with pytest.raises(FunneliftError, match="trained on synthetic data, the warehouse now holds real data"):
        score.score(copy.config(), Progress())
    copy.execute("update funnelift.conversion_predictions set run_id = 'other'")
    with pytest.raises(FunneliftError, match=r"conversion_predictions is empty or not of run \d+"):
        score.score(copy.config(), Progress())
    copy.execute("drop table funnelift.ml_runs")
    with pytest.raises(FunneliftError, match=r"no trained model in this warehouse: run `python -m ml\.train` first"):
        score.score(copy.config(), Progress())


def test_score_checks_the_values_of_the_rows_that_it_scores(copy: Place) -> None:
    copy.build("update funnelift.session_features set decision_hour = 99", changed=SOME)
    with pytest.raises(FunneliftError, match="gate values failed: highest value of decision_hour"):
        score.score(copy.config(), Progress())


def test_a_clock_that_was_ahead_changes_nothing(copy: Place) -> None:
    """A run is the published one because the registry says so, whatever its times say."""
    copy.execute(
        "update funnelift.ml_runs set finished_at = timestamp '2999-01-01', scored_at = timestamp '2999-01-01'"
    )
    copy.execute("update funnelift.uplift_runs set finished_at = timestamp '2999-01-01'")
    train.train(copy.config(), Progress())
    copy.build(f"update funnelift.session_features set item_price = item_price * 3 + 1 where {SOME}", changed=SOME)
    score.score(copy.config(), Progress())
    ahead = copy.rows("select run_id from funnelift.ml_runs where finished_at > timestamp '2900-01-01'")[0]["run_id"]
    for name in TABLES:
        assert ahead not in {row["run_id"] for row in table(copy, name).values()}


@pytest.mark.parametrize("command", [train.train, score.score])
def test_marts_of_two_builds_are_refused(copy: Place, command: Any) -> None:
    copy.execute("update funnelift.build_plan set build_id = 'b2', build_number = 2")
    before = {name: table(copy, name) for name in TABLES}
    with pytest.raises(
        FunneliftError, match=r"gate one whole build failed: .*build b2, found another.*run `dbt build`"
    ):
        command(copy.config(), Progress())
    assert {name: table(copy, name) for name in TABLES} == before


def test_a_build_that_begins_meanwhile_is_noticed(copy: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    copy.build(f"update funnelift.session_features set item_price = item_price * 3 + 1 where {SOME}", changed=SOME)
    before = {name: table(copy, name) for name in TABLES}
    seen = score.whole_build
    monkeypatch.setattr(score, "whole_build", lambda warehouse: seen(warehouse).__class__("b9", 9))
    with pytest.raises(FunneliftError, match="gate one whole build failed: the build since the rows were read"):
        score.score(copy.config(), Progress())
    assert {name: table(copy, name) for name in TABLES} == before


def test_a_scoring_reads_the_rows_of_changed_visitors_only(copy: Place) -> None:
    """What it does not read it cannot see: a change that no build tells of stays unseen."""
    copy.build(f"update funnelift.session_features set item_price = item_price * 3 + 1 where {SOME}", changed=SOME)
    copy.execute(f"update funnelift.session_features set item_price = item_price * 3 + 1 where not ({SOME})")
    before = table(copy, PREDICTED)
    score.score(copy.config(), Progress())
    changed = unlike(before, table(copy, PREDICTED))
    assert {before[key]["visitor_id"][-1] for key in changed} == {"3", "7"}
    with duckdb.connect(copy.folder / "warehouse.duckdb", read_only=True) as connection:
        keyed = connection.execute(
            "select distinct table_name from duckdb_constraints() where constraint_type = 'PRIMARY KEY'"
        )
        assert {name for (name,) in keyed.fetchall()} >= {*TABLES, "score_runs"}
