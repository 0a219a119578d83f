"""A training where workers read the mart sees what one that reads all rows sees, and brings few of them here."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import ml_mart
from ml import rollback, score, train
from ml.cli import Progress
from ml.config import Config
from ml.data.counts import rows_at_points
from ml.data.draw import by_key, some_visitors
from ml.data.elsewhere import Elsewhere, count_elsewhere, find_leaks, read_chosen
from ml.data.features import Mart, read_mart
from ml.data.gates import GateError
from ml.data.leakage import check_leakage
from ml.data.read import read_rows
from ml.data.rows import Dataset
from ml.data.split import SPLITS, Classes, sample_negatives, split_by_time
from ml.data.values import check_values, expectations_met
from ml.publish.workers import SplitScorer, model_files
from ml.run import Stamp
from training import QUICK, SINCE, TABLES, Place, copy_of, quick_settings
from warehouse.contract import read_contracts
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse
from warehouse.settings import WarehouseSettings
from warehouse.workers import Handed
from workers_here import WorkersHere

# All bounds bite: samples of the training, calibration and test rows, and an experiment at a rare decision point.
BOUNDED: dict[str, Any] = {
    **QUICK,
    "sampling": {"min_negatives": 300, "max_rows": 380},
    "calibration": {"max_rows": 150},
    "evaluation": {**QUICK["evaluation"], "max_rows": 200},
    "experiment": {**QUICK["experiment"], "decision_point": "engaged"},
}
# Sessions that last until later splits, and rows of a time before all others: an implausible one.
ODD = (
    "update funnelift.session_features set decided_ms = decided_ms + 86400000 * (hash(session_id) % 4)::bigint "
    "where decision_point <> 'landing' and hash(session_id) % 3 = 0",
    "update funnelift.dataset_summary set first_plausible_ms = "
    "(select quantile_disc(decided_ms, 0.03) from funnelift.session_features)",
)
# What says when.
OF_THE_RUN = ("run_id", "scored_at", "started_at", "finished_at", "published_at", "model_run_id")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("elsewhere")
    ml_mart.write(folder, ml_mart.marts(3000, seed=23, buy_rate=0.06))
    quick_settings(folder, BOUNDED)
    place = Place(folder)
    for statement in ODD:
        place.execute(statement)
    return place


@contextmanager
def workers(settings: WarehouseSettings) -> Iterator[WorkersHere]:
    with WorkersHere.open(settings) as warehouse:
        warehouse.folder, warehouse.gathered = settings.duckdb_path.parent / "spread", []
        yield warehouse


@contextmanager
def counted(config: Config) -> Iterator[tuple[WorkersHere, Mart, Elsewhere]]:
    mart = read_mart(read_contracts(config.manifest))
    with workers(config) as warehouse:
        first = int(warehouse.query("select first_plausible_ms as ms from funnelift.dataset_summary")[0]["ms"])
        yield warehouse, mart, count_elsewhere(warehouse, mart, config, first)


def everything(config: Config, plausible_from_ms: int) -> Dataset:
    with open_warehouse(config) as warehouse:
        data = read_rows(warehouse, read_mart(read_contracts(config.manifest)), config, config.results)
    return replace(data, plausible_from_ms=plausible_from_ms)


def keys(data: Dataset, rows: Any) -> list[tuple[str, str]]:
    names = data.identity.select(["session_id", "decision_point"]).take(pa.array(rows)).to_pylist()
    return [(row["session_id"], row["decision_point"]) for row in names]


def check_same(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    for before, now in zip(sorted(expected, key=_order), sorted(found, key=_order), strict=True):
        names = [name for name in before if name not in OF_THE_RUN]
        assert not [name for name in names if not _is_same(before[name], now[name])]


def test_workers_count_and_split_as_all_rows_are_split(place: Place) -> None:
    config = place.config()
    with counted(config) as (_, _, elsewhere):
        pass
    data = everything(config, elsewhere.rule.plausible_from_ms)
    splits = split_by_time(data, config.split)
    assert splits.bounds == elsewhere.rule.bounds
    assert elsewhere.rule.began_ms
    assert np.array_equal(elsewhere.split(data).codes, splits.codes)
    assert elsewhere.of_splits == {name: Classes.of(data.label[splits.rows(name)]) for name in SPLITS}
    assert min(classes.rows for classes in elsewhere.of_splits.values()) > 0
    assert elsewhere.of_points == rows_at_points(data)
    test = some_visitors(data, splits.rows("test"), config.evaluation.max_rows)
    seen = elsewhere.is_seen(data.identity.column("visitor_id").take(pa.array(test)))
    assert np.array_equal(seen, np.isin(data.visitor[test], data.visitor[splits.rows("train")]))
    assert 0 < seen.sum() < len(seen)


def test_what_is_drawn_is_there_and_few_rows_come(place: Place) -> None:
    config = place.config()
    with counted(config) as (warehouse, mart, elsewhere):
        chosen = read_chosen(warehouse, mart, config, config.results, elsewhere, only="conversion")
    data = everything(config, elsewhere.rule.plausible_from_ms)
    splits, own = split_by_time(data, config.split), elsewhere.split(chosen)
    assert len(chosen) < 0.6 * len(data)
    of = elsewhere.of_splits
    for which, found, in_whole in ((data, splits, None), (chosen, own, of["train"])):
        rows, weights = sample_negatives(
            found.rows("train"), which.label, config.sampling, by_key(which.identity, config.seed), in_whole
        )
        drawn = keys(which, rows), weights.tolist()
        if which is data:
            expected = drawn
    assert drawn == expected
    assert len(expected[0]) == 380 < of["train"].rows
    for name, most in (("calibration", 150), ("test", 200)):
        kept = some_visitors(chosen, own.rows(name), most, of[name].rows)
        assert keys(chosen, kept) == keys(data, some_visitors(data, splits.rows(name), most))
        assert 0 < len(kept) < of[name].rows


def test_another_seed_draws_other_rows(place: Place) -> None:
    config = place.config()
    data = everything(config, 0)
    rows = np.arange(len(data))
    first, again, other = (set(by_key(data.identity, seed)(rows, 300).tolist()) for seed in (1, 1, 2))
    assert first == again
    assert 0.1 < len(first & other) / 300 * len(data) / 300 < 2
    assert set(by_key(data.identity, 1)(rows, 200).tolist()) < first
    # Each decision point of a session has a chance of its own.
    share, points = 300 / len(data), np.asarray(data.decision_point)
    for point in set(points):
        drawn = sum(points[row] == point for row in first)
        assert abs(drawn - share * (points == point).sum()) < 4 * np.sqrt(share * (points == point).sum()) + 1


def test_leaks_are_measured_as_on_all_rows(place: Place, tmp_path: Path) -> None:
    config = place.config()
    with counted(config) as (warehouse, mart, elsewhere):
        found = find_leaks(warehouse, mart, config, elsewhere)
        assert expectations_met(warehouse, mart, config) == check_values(everything(config, 0), mart, config)
    assert found == check_leakage(everything(config, 0), mart, config)
    assert {entry.decision_point for entry in found} >= {"landing", "engaged"}


@pytest.mark.parametrize(
    ("gate", "broken"),
    [
        ("leakage", "update funnelift.session_features set item_price = item_price + 1e6 * has_transaction"),
        (
            "leakage",
            "update funnelift.session_features set item_category = 'sold' where has_transaction = 1 "
            "and hash(session_id) % 3 = 0",
        ),
        ("values", "update funnelift.session_features set item_price = -1 where hash(session_id) % 100 = 0"),
        ("nulls", "update funnelift.session_features set decided_at = null where hash(session_id) % 100 = 0"),
        ("row count", "delete from funnelift.session_features where hash(session_id) % 1000 = 0"),
        (
            "conversion rate",
            "update funnelift.session_features set has_transaction = 1 - has_transaction where session_id = "
            "(select min(session_id) from funnelift.session_features)",
        ),
        ("key", "insert into funnelift.session_features from funnelift.session_features limit 1"),
    ],
)
def test_a_gate_fails_in_the_same_words(
    gate: str, broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    ml_mart.write(tmp_path, ml_mart.marts(3000, seed=23, buy_rate=0.06))
    quick_settings(tmp_path)
    place = Place(tmp_path)
    place.execute(broken)
    said = []
    for opened in (open_warehouse, workers):
        monkeypatch.setattr(train, "open_warehouse", opened)
        with pytest.raises(GateError) as refused:
            train.train(place.config(), Progress())
        assert refused.value.gate == gate
        said.append(str(refused.value))
    assert said[0] == said[1]


def test_a_training_publishes_the_same_tables(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    train.train(place.config(results=tmp_path / "all"), Progress())
    tables = {table: place.rows(f"select * from funnelift.{table}") for table in TABLES}
    for table in TABLES:
        place.execute(f"delete from funnelift.{table}")
    opened: list[WorkersHere] = []

    @contextmanager
    def remembered(settings: WarehouseSettings) -> Iterator[WorkersHere]:
        with workers(settings) as warehouse:
            opened.append(warehouse)
            yield warehouse

    monkeypatch.setattr(train, "open_warehouse", remembered)
    train.train(place.config(results=tmp_path / "few"), Progress())
    rows = place.rows("select count(*) as n from funnelift.session_features")[0]["n"]
    # Counts, visitors, then the rows that models see.
    assert max(opened[0].gathered) < 0.75 * rows
    for table in TABLES:
        found = place.rows(f"select * from funnelift.{table}")
        assert len(found) == len(tables[table]) > 0 or table in ("policy_values", "policy_offers")
        check_same(tables[table], found)
    (first,) = place.rows("select * from funnelift.ml_runs")
    assert first["feature_row_count"] == rows
    # Another training, and back to this one.
    monkeypatch.setattr(rollback, "open_warehouse", remembered)
    quick_settings(place.folder, {**BOUNDED, "seed": 7})
    train.train(place.config(results=tmp_path / "few"), Progress(), force=True, only="conversion")
    rollback.rollback(place.config(results=tmp_path / "few"), Progress(), first["run_id"])
    check_same(tables["conversion_predictions"], place.rows("select * from funnelift.conversion_predictions"))


def test_rows_after_a_training_are_new(place: Place, tmp_path: Path) -> None:
    config = place.config(results=tmp_path)
    train.train(config, Progress(), only="conversion")
    (run,) = place.rows("select * from funnelift.ml_runs where status = 'published'")
    contract, files = read_contracts(config.manifest)["conversion_predictions"], tmp_path / "models" / run["run_id"]
    stamp = Stamp(run["run_id"], run["model_version"], run["scored_at"])
    names = ["calibrator.json", "features.json", run["champion_file"]]
    with counted(config) as (warehouse, mart, elsewhere):
        last = elsewhere.rule.bounds.ends_ms - 5 * ml_mart.DAY_MS
        scorer = SplitScorer(mart, contract, stamp, elsewhere.rule, model_files(files, names), last_ms=last)
        rows = warehouse.make(contract, Handed("session_features", mart.columns, scorer)).rows.to_pylist()
    times = {(row["session_id"], row["decision_point"]): (row["decided_ms"], row["is_mature"])
             for row in place.rows("select * from funnelift.session_features")}  # fmt: skip
    new = {(row["session_id"], row["decision_point"]) for row in rows if row["dataset_split"] == "new"}
    assert new == {key for key, (decided, is_mature) in times.items() if is_mature == 1 and decided > last}
    assert 0 < len(new) < len(rows)


def test_a_scoring_publishes_the_same_rows(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    here = copy_of(place, tmp_path / "here")
    train.train(here.config(), Progress())
    lost = "delete from funnelift.conversion_predictions where hash(session_id) % 40 = 0"
    here.build(*SINCE, lost)
    there = copy_of(here, tmp_path / "there")
    told = score.score(here.config(), Progress())
    monkeypatch.setattr(score, "open_warehouse", workers)
    assert score.score(there.config(), Progress()) == told
    (run,) = there.rows(
        "select * from funnelift.score_runs where scored_table = 'conversion_predictions' and action = 'score'"
    )
    assert min(run[f"rows_{what}"] for what in ("added", "changed", "removed")) > 0
    for table in ("conversion_predictions", "uplift_scores", "score_runs"):
        check_same(*(each.rows(f"select * from funnelift.{table}") for each in (here, there)))


def test_an_unknown_decision_point_is_told_with_those_there_are(place: Place) -> None:
    config = place.config(**{"experiment.decision_point": "checkout"})
    with counted(config) as (warehouse, mart, elsewhere), pytest.raises(FunneliftError, match="'checkout' is unknown"):
        read_chosen(warehouse, mart, config, config.results, elsewhere, only=None)


def _order(row: dict[str, Any]) -> list[str]:
    return [str(value) for name, value in row.items() if name not in OF_THE_RUN and not isinstance(value, float)]


def _is_same(before: Any, now: Any) -> bool:
    if isinstance(before, float) and isinstance(now, float):
        return isclose(before, now, rel_tol=1e-9, abs_tol=1e-12)
    return bool(before == now)
