"""Metrics equal scikit-learn's; intervals agree with theory and resample visitors, not rows."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

import ml_mart
from ml.bootstrap import Bootstrap
from ml.conversion.curve import calibration_curve, equal_count_edges, wilson_interval
from ml.conversion.evaluate import Metric, slice_metrics, slices_of
from ml.conversion.ranked import METRICS, RankedScores
from ml.data.draw import some_visitors
from ml.data.features import read_mart
from ml.data.rows import build_dataset
from warehouse.contract import read_contracts

Array = npt.NDArray[np.float64]


def made_up(rows: int, seed: int, decimals: int = 17) -> tuple[Array, npt.NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    probability = np.round(1 / (1 + np.exp(-rng.normal(-3, 1.2, rows))), decimals)
    return probability, (rng.random(rows) < probability).astype(np.int8)


def metrics_of(probability: Array, label: npt.NDArray[np.int8], visitor: npt.NDArray[np.intp], weights: Array) -> Array:
    ranked = RankedScores(probability, label, visitor, len(weights), 10)
    return ranked.metrics(weights[None].astype(np.uint8))[0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), decimals=st.sampled_from([1, 2, 3, 17]), rows=st.integers(20, 400))
def test_weighted_metrics_equal_sklearns_with_and_without_ties(seed: int, decimals: int, rows: int) -> None:
    probability, label = made_up(rows, seed, decimals)
    rng = np.random.default_rng(seed)
    visitor = rng.integers(0, rows // 2, rows)
    weights = rng.poisson(1, rows // 2)
    row_weights = weights[visitor]
    if not 0 < (row_weights * label).sum() < row_weights.sum():
        return
    found = dict(zip(METRICS, metrics_of(probability, label, visitor, weights), strict=True))
    kept = {"sample_weight": row_weights}
    assert found["auc_roc"] == pytest.approx(roc_auc_score(label, probability, **kept), abs=1e-12)
    assert found["average_precision"] == pytest.approx(average_precision_score(label, probability, **kept), abs=1e-12)
    assert found["brier_score"] == pytest.approx(brier_score_loss(label, probability, **kept), abs=1e-12)
    clipped = np.clip(probability, 1e-15, 1 - 1e-15)
    assert found["log_loss"] == pytest.approx(log_loss(label, clipped, **kept), abs=1e-9)


def test_calibration_error_equals_its_definition() -> None:
    probability, label = made_up(1000, 3)
    order = np.argsort(probability)
    expected = sum(
        len(part) / 1000 * abs(probability[part].mean() - label[part].mean()) for part in np.split(order, 10)
    )
    found = metrics_of(probability, label, np.arange(1000), np.ones(1000))
    assert found[METRICS.index("expected_calibration_error")] == pytest.approx(expected, abs=1e-12)


def test_one_class_alone_has_no_ranking_metric() -> None:
    found = metrics_of(np.linspace(0.1, 0.9, 20), np.zeros(20, np.int8), np.arange(20), np.ones(20))
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2:]).all()


def by_metric(probability: Array, label: npt.NDArray[np.int8], visitor: npt.NDArray[np.int32]) -> dict[str, Metric]:
    slices = {"overall": np.arange(len(label))}
    found = slice_metrics({"m": probability}, label, visitor, slices, bins=10, bootstrap=Bootstrap(400, 0.95, 1, 2))
    return {entry.metric: entry for entry in found}


def width(entry: Metric) -> float:
    assert entry.ci_lower is not None
    assert entry.ci_upper is not None
    assert entry.value is not None
    assert entry.ci_lower < entry.value < entry.ci_upper
    return entry.ci_upper - entry.ci_lower


def test_intervals_agree_with_theory() -> None:
    probability, label = made_up(20_000, 7)
    found = by_metric(probability, label, np.arange(20_000, dtype=np.int32))
    squared_error = (probability - label) ** 2
    assert width(found["brier_score"]) == pytest.approx(2 * 1.96 * squared_error.std() / np.sqrt(20_000), rel=0.15)
    # DeLong's variance of the AUC, from the placement of every row among the other class.
    positive, negative = probability[label == 1], probability[label == 0]
    above = np.searchsorted(np.sort(negative), positive) / len(negative)
    below = 1 - np.searchsorted(np.sort(positive), negative) / len(positive)
    deviation = np.sqrt(above.var(ddof=1) / len(positive) + below.var(ddof=1) / len(negative))
    assert width(found["auc_roc"]) == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_copied_rows_of_a_visitor_do_not_narrow_the_interval() -> None:
    probability, label = made_up(4000, 8)
    once = by_metric(probability, label, np.arange(4000, dtype=np.int32))
    copied = by_metric(np.repeat(probability, 5), np.repeat(label, 5), np.repeat(np.arange(4000, dtype=np.int32), 5))
    for metric in ("auc_roc", "average_precision", "log_loss", "brier_score"):
        assert copied[metric].value == pytest.approx(once[metric].value, abs=1e-9)
        assert width(copied[metric]) == pytest.approx(width(once[metric]), rel=1e-6)


def test_intervals_are_the_same_with_any_number_of_threads() -> None:
    probability, label = made_up(500, 9)
    visitor = np.arange(500, dtype=np.int32) // 2
    overall = {"overall": np.arange(500)}
    runs = [
        slice_metrics({"m": probability}, label, visitor, overall, bins=5, bootstrap=Bootstrap(30, 0.9, 1, threads))
        for threads in (1, 3)
    ]
    assert runs[0] == runs[1]


def test_calibration_bins_cover_every_row_once_and_keep_ties_together() -> None:
    probability, label = made_up(997, 4, decimals=2)
    bins = list(calibration_curve("m", "overall", probability, label, 10))
    assert sum(entry.n_rows for entry in bins) == 997
    assert sum(entry.n_positives for entry in bins) == label.sum()
    edges = equal_count_edges(np.sort(probability), 10)
    assert len(set(np.sort(probability)[edges])) == len(edges)
    for entry in bins:
        assert entry.ci_lower <= entry.observed_rate <= entry.ci_upper
    assert [entry.mean_predicted for entry in bins] == sorted(entry.mean_predicted for entry in bins)


@given(trials=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_interval_equals_scipys(trials: int, share: float) -> None:
    successes = round(trials * share)
    lower, upper = wilson_interval(successes, trials)
    assert 0 <= lower <= successes / trials <= upper <= 1
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert (lower, upper) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_slices_are_by_point_and_by_what_is_known_of_the_visitor(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(ml_mart.manifest()))
    table = pa.Table.from_pandas(ml_mart.marts(3000, seed=2)["session_features"], preserve_index=False)
    data = build_dataset(table.to_batches(), len(table), read_mart(read_contracts(tmp_path / "manifest.json")))
    train, test = np.arange(0, 2000), np.arange(2000, len(data))
    slices = slices_of(data, test, np.isin(data.visitor[test], data.visitor[train]))
    visitors = np.array(data.identity.column("visitor_id").to_pylist())
    points = np.array(data.identity.column("decision_point").to_pylist())
    assert set(slices) == {
        "overall", "decision_point=landing", "decision_point=engaged", "decision_point=cart",
        "visitor=new", "visitor=returning", "visitor=unseen_in_training",
    }  # fmt: skip
    assert set(points[test][slices["decision_point=cart"]]) == {"cart"}
    unseen = set(visitors[test][slices["visitor=unseen_in_training"]])
    assert unseen == set(visitors[test]) - set(visitors[train])
    assert len(slices["visitor=new"]) + len(slices["visitor=returning"]) == len(test)


def test_some_visitors_are_evaluated_alike(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(ml_mart.manifest()))
    table = pa.Table.from_pandas(ml_mart.marts(6000, seed=3)["session_features"], preserve_index=False)
    data = build_dataset(table.to_batches(), len(table), read_mart(read_contracts(tmp_path / "manifest.json")))
    rows = np.arange(len(data) % 2, len(data))
    assert some_visitors(data, rows, len(rows)) is rows
    half, third = some_visitors(data, rows, len(rows) // 2), some_visitors(data, rows, len(rows) // 3)
    assert len(half) == pytest.approx(len(rows) / 2, rel=0.1)
    assert set(third) < set(half) < set(rows)
    # All rows of a visitor or none, whatever else is there.
    assert not set(data.visitor[half]) & set(data.visitor[np.setdiff1d(rows, half)])
    later = some_visitors(data, rows[1000:], len(rows[1000:]) // 2)
    assert set(later) == set(half[half >= rows[1000]])
    # The intervals are for the sample: wider, and both hold the truth of a model that knows its own chances.
    chance, draw = np.random.default_rng(1).beta(1, 12, len(data)), np.random.default_rng(2).random(len(data))
    label = (draw < chance).astype(np.int8)
    loss = [
        next(
            entry
            for entry in slice_metrics(
                {"m": chance[own]}, label[own], data.visitor[own], {"overall": np.arange(len(own))}, bins=5,
                bootstrap=Bootstrap(100, 0.99, 1),
            )
            if entry.metric == "log_loss"
        )
        for own in (rows, third)
    ]  # fmt: skip
    truth = float((-chance * np.log(chance) - (1 - chance) * np.log(1 - chance))[rows].mean())
    assert all(entry.ci_lower < truth < entry.ci_upper for entry in loss)  # type: ignore[operator]
    assert width(loss[1]) / width(loss[0]) == pytest.approx(np.sqrt(3), rel=0.3)
