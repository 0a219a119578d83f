"""Models, calibrators and explanations: what they return is what they say it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

import ml_mart
from ml.cli import Progress
from ml.config import Calibration, RiskBands, load_config
from ml.conversion.bands import BANDS, Thresholds
from ml.conversion.calibration import Calibrator, calibrate, fit_calibrator, row_log_loss
from ml.conversion.candidates import fit_candidates, training_rows
from ml.conversion.catboost import CatBoostModel
from ml.conversion.champion import Champion
from ml.conversion.constants import Constants
from ml.conversion.explain import direction_of, explain
from ml.conversion.logistic import LogisticModel
from ml.conversion.model import Model, Training
from ml.conversion.models import MODELS
from ml.conversion.reasons import phrase, reason_texts, reasons_of, top_reasons
from ml.conversion.xgboost import XGBoostModel
from ml.data.features import MART, Feature, Mart, read_mart
from ml.data.rows import Dataset, build_dataset
from ml.data.split import split_by_time
from ml.publish.artifacts import ModelError, check_bands
from warehouse.contract import read_contracts
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Mart]:
    folder = tmp_path_factory.mktemp("models")
    ml_mart.write(folder, ml_mart.marts(4000, seed=21, buy_rate=0.05))
    config = load_config(None, {"duckdb_path": folder / "warehouse.duckdb"}, environment={})
    mart = read_mart(read_contracts(folder / "manifest.json"))
    with open_warehouse(config) as warehouse:
        rows, batches = warehouse.read(MART, mart.columns)
        return build_dataset(batches, rows, mart), mart


@pytest.fixture(scope="module")
def fitted(data: tuple[Dataset, Mart]) -> dict[str, Model]:
    rows, mart = data
    config = load_config(environment={})
    half = len(rows) // 2
    training = Training(
        inputs=rows.inputs.iloc[:half],
        label=rows.label[:half],
        weights=np.where(rows.label[:half] == 1, 1, 3).astype(np.float32),
        stop_inputs=rows.inputs.iloc[half : half + 800],
        stop_label=rows.label[half : half + 800],
        mart=mart,
        seed=1,
        threads=2,
    )
    return {
        "catboost": CatBoostModel.fit(training, config.models.catboost),
        "xgboost": XGBoostModel.fit(training, config.models.xgboost),
        "logistic": LogisticModel.fit(training, config.models.logistic),
    }


@pytest.mark.parametrize("name", list(MODELS))
def test_contributions_add_up_to_the_score(name: str, data: tuple[Dataset, Mart], fitted: dict[str, Model]) -> None:
    inputs = data[0].inputs.iloc[-700:]
    values, log_odds = fitted[name].contributions(inputs), fitted[name].log_odds(inputs)
    assert values.shape == (700, len(data[1].features))
    base = log_odds - values.sum(axis=1)
    np.testing.assert_allclose(base, base[0], atol=2e-5)
    assert log_odds.std() > 0.1


@pytest.mark.parametrize("name", list(MODELS))
def test_what_is_kept_of_a_few_rows_is_never_said_of_others(
    name: str, data: tuple[Dataset, Mart], fitted: dict[str, Model]
) -> None:
    model, batches = fitted[name], [data[0].inputs.iloc[start : start + 20] for start in (0, 400, 800)]
    # A model keeps what it made of a frame; of a copy it keeps nothing yet.
    expected = [(model.log_odds(rows.copy()), model.contributions(rows.copy())) for rows in batches]
    for rows, (log_odds, contributions) in zip(batches, expected, strict=True):
        assert np.array_equal(model.log_odds(rows), log_odds)
        assert np.array_equal(model.contributions(rows), contributions)
    assert not np.array_equal(expected[0][0], expected[1][0])


def test_contributions_by_leaf_are_catboosts_own(data: tuple[Dataset, Mart], fitted: dict[str, Model]) -> None:
    model = fitted["catboost"]
    assert isinstance(model, CatBoostModel)
    for rows in (slice(0, 50), slice(30, 900), slice(-400, None)):
        inputs = data[0].inputs.iloc[rows]
        own = model.booster.get_feature_importance(model._pool(inputs), type="ShapValues")[:, :-1]
        np.testing.assert_allclose(model.contributions(inputs), own, atol=1e-12)


def test_contributions_of_the_logistic_model_are_differences_from_the_average(
    data: tuple[Dataset, Mart], fitted: dict[str, Model]
) -> None:
    # A feature moved alone moves its own contribution by as much as the score, and no other.
    model, mart = fitted["logistic"], data[1]
    before = data[0].inputs.iloc[[10]].copy()
    after = before.assign(item_views_7d=before["item_views_7d"] + 50)
    moved = model.contributions(after) - model.contributions(before)
    index = mart.names.index("item_views_7d")
    assert moved[0, index] == pytest.approx((model.log_odds(after) - model.log_odds(before))[0], abs=1e-5)
    assert np.abs(np.delete(moved[0], index)).max() < 1e-6


@pytest.mark.parametrize("name", list(MODELS))
def test_saved_models_score_the_same_and_equal_models_save_equal_bytes(
    name: str, data: tuple[Dataset, Mart], fitted: dict[str, Model], tmp_path: Path
) -> None:
    model, (rows, mart) = fitted[name], data
    path = tmp_path / model.file_name
    model.save(path)
    loaded = MODELS[name].load(path, mart, 2)
    whole = model.log_odds(rows.inputs)
    np.testing.assert_array_equal(loaded.log_odds(rows.inputs), whole)
    # A row's score does not depend on the rows scored with it.
    for some in (slice(5, 6), slice(0, 37), slice(3, None, 7)):
        np.testing.assert_array_equal(loaded.log_odds(rows.inputs.iloc[some]), whole[some])
    content = path.read_bytes()
    model.save(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", list(MODELS))
def test_categories_never_seen_are_scored(name: str, data: tuple[Dataset, Mart], fitted: dict[str, Model]) -> None:
    inputs = data[0].inputs.iloc[:5].copy()
    for column in data[1].categorical:
        inputs[column] = inputs[column].cat.set_categories(["never seen"]).fillna("never seen")
    assert np.isfinite(fitted[name].log_odds(inputs)).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), slope=st.floats(-2, 3), method=st.sampled_from(["platt", "isotonic"]))
def test_calibrators_never_turn_the_ranking_round(seed: int, slope: float, method: str) -> None:
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-2, 1.5, 400)
    label = (rng.random(400) < 1 / (1 + np.exp(-slope * log_odds))).astype(np.int8)
    if label.min() == label.max():
        with pytest.raises(FunneliftError, match="with and without a purchase"):
            fit_calibrator(method, log_odds, label)
        return
    probability = fit_calibrator(method, log_odds, label).probability(np.linspace(-20, 20, 500))
    assert (np.diff(probability) >= 0).all()
    assert (probability >= 0).all()
    assert (probability <= 1).all()
    if method == "isotonic":
        assert probability.min() > 0
        assert probability.max() < 1


def test_platt_repairs_a_shifted_score_and_is_chosen_by_evidence() -> None:
    rng = np.random.default_rng(5)
    truth = rng.normal(-3, 1.5, 6000)
    label = (rng.random(6000) < 1 / (1 + np.exp(-truth))).astype(np.int8)
    plan = Calibration(methods=["platt", "isotonic"], folds=5, max_rows=6000, bins=10)
    visitor = np.arange(6000, dtype=np.int32)
    model: Any = None
    candidate = calibrate(model, 2 * truth + 4, label, visitor, plan)
    assert candidate.calibrator.method == min(candidate.log_losses, key=lambda name: candidate.log_losses[name])
    assert candidate.calibrator.method == "platt"
    np.testing.assert_allclose(candidate.calibrator.values, (0.5, -2), rtol=0.15)
    # A step that no sigmoid can follow.
    steps = np.where(truth > -2, 0.3, 0.02)
    label = (rng.random(6000) < steps).astype(np.int8)
    assert calibrate(model, truth, label, visitor, plan).calibrator.method == "isotonic"


def test_platt_is_the_regression_without_penalty() -> None:
    rng = np.random.default_rng(6)
    for rows, shift, slope in ((60, 0, 1), (800, -2, 0.3), (20_000, -5, 2), (5_000, 4, 25)):
        log_odds = rng.normal(shift, 1.5, rows)
        label = (rng.random(rows) < 1 / (1 + np.exp(-slope * log_odds))).astype(np.int8)
        expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(log_odds[:, np.newaxis], label)
        found = fit_calibrator("platt", log_odds, label).values
        np.testing.assert_allclose(found, (expected.coef_[0, 0], expected.intercept_[0]), rtol=1e-5, atol=1e-5)
    # Where a threshold tells all rows, no slope is the best; scores of one value have none.
    told = fit_calibrator("platt", np.arange(10.0), (np.arange(10) > 6).astype(np.int8))
    assert np.isfinite(told.values).all()
    np.testing.assert_allclose(told.probability(np.array([6.0, 7.0])), (0, 1), atol=0.01)
    flat = fit_calibrator("platt", np.full(8, -3.0), np.array([1, 0, 0, 0, 0, 0, 0, 0]))
    assert flat.probability(np.array([-3.0])) == pytest.approx(1 / 8)


def test_row_log_loss_is_minus_the_log_of_what_came() -> None:
    found = row_log_loss(np.array([0.2, 0.2, 1.0]), np.array([1, 0, 1], np.int8))
    np.testing.assert_allclose(found, [-np.log(0.2), -np.log(0.8), 0])


FLAG = Feature(
    "has_addtocart", "session", "numeric", "", "the session has an addition to the cart so far", is_flag=True
)
OPTIONAL = Feature("item_is_available", "item", "numeric", "", "the item is available", is_flag=True)
COUNT = Feature("events_so_far", "session", "numeric", "", "events in the session so far")
CATEGORY = Feature("item_category", "item", "categorical", "", "category of the item in focus")


@pytest.mark.parametrize(
    ("feature", "value", "expected"),
    [
        (FLAG, 1.0, "the session has an addition to the cart so far (has_addtocart = 1)"),
        (FLAG, 0.0, "not so: the session has an addition to the cart so far (has_addtocart = 0)"),
        (OPTIONAL, 0.0, "not so: the item is available (item_is_available = 0)"),
        (OPTIONAL, np.nan, "not known: the item is available (item_is_available)"),
        (COUNT, 12.0, "events in the session so far (events_so_far = 12)"),
        (COUNT, 123_400.0, "events in the session so far (events_so_far = 123,400)"),
        (CATEGORY, "1051", "category of the item in focus (item_category = 1051)"),
        (CATEGORY, "(none)", "not known: category of the item in focus (item_category)"),
    ],
)
def test_reasons_read_as_sentences(feature: Feature, value: object, expected: str) -> None:
    assert phrase(feature, value) == expected


def test_top_reasons_are_the_strongest_either_way_and_never_one_without_words(data: tuple[Dataset, Mart]) -> None:
    rows, mart = data
    values = np.zeros((2, len(mart.features)))
    position = {name: index for index, name in enumerate(mart.names)}
    values[0, position["decision_point"]] = 9
    values[0, position["item_price"]] = -3
    values[0, position["carts_so_far"]] = 2
    values[0, position["item_category"]] = -1
    values[1, position["views_so_far"]] = 0.5
    constant = np.zeros((2, len(mart.features)), dtype=bool)
    top, up = top_reasons(values, mart, constant)
    assert [mart.names[index] for index in top[0]] == ["item_price", "carts_so_far", "item_category"]
    assert up[0].tolist() == [False, True, False]
    assert mart.names[top[1, 0]] == "views_so_far"
    texts = reason_texts(rows, mart, top, up, at=np.arange(2))
    price = rows.inputs["item_price"].iloc[0]
    first = texts[0][0].as_py()
    assert first.startswith("Towards leaving: ")
    assert ("not known" in first) == bool(np.isnan(price))
    assert texts[1][0].as_py().startswith("Towards buying: carts so far (carts_so_far = ")
    assert (
        texts[2][0].as_py()
        == f"Towards leaving: {phrase(mart.features[position['item_category']], rows.inputs['item_category'].iloc[0])}"
    )


@pytest.mark.parametrize("max_rows", [100_000, 300, 100])
def test_a_bound_on_the_rows_leaves_probabilities_true(data: tuple[Dataset, Mart], max_rows: int) -> None:
    rows, mart = data
    config = load_config(None, {"sampling.max_rows": max_rows, "split.calibration_share": 0.15}, environment={})
    splits = split_by_time(rows, config.split)
    calibration, test = splits.rows("calibration"), splits.rows("test")
    training, _ = training_rows(rows, mart, splits.rows("train"), calibration, config)
    sizes = [min(max_rows, each) for each in (len(splits.rows("train")), len(calibration))]
    assert [len(training.label), len(training.stop_label)] == sizes
    # Of so few rows half convert, of all some twentieth: without the weights a model would say so.
    for name, fit in fit_candidates(training, rows, calibration, config, Progress()).items():
        said, label = expit(fit.model.log_odds(rows.inputs.iloc[test])), rows.label[test]
        assert said.mean() == pytest.approx(label.mean(), rel=0.6), name
        # The calibrators have all rows of their split, so calibrated means are within what chance allows.
        spread = np.sqrt(label.var() * (1 / len(test) + 1 / len(calibration)))
        assert abs(fit.probability(rows.inputs.iloc[test]).mean() - label.mean()) < 3 * spread, name


def test_the_summary_is_the_mean_of_the_test_rows(data: tuple[Dataset, Mart], fitted: dict[str, Model]) -> None:
    rows, mart = data
    explained, test = np.arange(500, len(rows)), np.arange(1500, len(rows))
    champion = Champion(fitted["catboost"], Calibrator("platt", (), ()), Thresholds({}), Constants({}))
    found = explain(champion, rows, explained, test, plot_rows=300, seed=1, threads=2)
    values = np.abs(fitted["catboost"].contributions(rows.inputs.iloc[test]))
    overall = {effect.feature: effect for effect in found.effects if effect.decision_point == "all"}
    for index, name in enumerate(mart.names):
        assert overall[name].mean_abs_shap == pytest.approx(values[:, index].mean(), abs=1e-12)
    assert sorted(effect.rank for effect in overall.values()) == list(range(1, len(mart.names) + 1))
    at_cart = (rows.decision_point.codes == list(rows.decision_point.categories).index("cart"))[test]
    cart = {effect.feature: effect for effect in found.effects if effect.decision_point == "cart"}
    assert cart["item_price"].mean_abs_shap == pytest.approx(
        values[at_cart, mart.names.index("item_price")].mean(), abs=1e-12
    )
    assert all(len(texts) == len(explained) and texts.null_count == 0 for texts in found.reasons)
    assert len(found.sample_values) == len(found.sample_inputs) == 300


def test_directions(data: tuple[Dataset, Mart]) -> None:
    column = data[0].inputs["item_price"].iloc[:500]
    assert direction_of(column, column.fillna(0).to_numpy(np.float64)) == "higher: buying"
    assert direction_of(column, -column.fillna(0).to_numpy(np.float64)) == "higher: leaving"
    assert direction_of(column, np.random.default_rng(1).normal(size=500)) == "mixed"
    assert direction_of(column, np.zeros(500)) == "mixed"


def test_risk_bands_are_shares_of_each_decision_point(data: tuple[Dataset, Mart]) -> None:
    rows, _ = data
    points, bands = rows.decision_point, RiskBands(high_share=0.3, low_share=0.2)
    # Decision points whose scores lie far apart.
    score = np.random.default_rng(1).normal(size=len(rows)) - 3.0 * points.codes
    thresholds = Thresholds.from_scores(score, points, bands)
    found = thresholds.risk_band(score, points)
    for code in range(len(points.categories)):
        own = points.codes == code
        shares = np.bincount(found[own], minlength=3) / own.sum()
        assert shares == pytest.approx([0.2, 0.5, 0.3], abs=1 / own.sum())
        assert score[own & (found == BANDS.index("high"))].max() < score[own & (found == BANDS.index("medium"))].min()
        assert score[own & (found == BANDS.index("medium"))].max() < score[own & (found == BANDS.index("low"))].min()


def test_every_band_is_filled_however_few_scores_there_are() -> None:
    bands, many = RiskBands(high_share=0.3, low_share=0.2), pd.Categorical(["cart"] * 1000 + ["landing"] * 1000)
    for values, shares in (
        ([0.0, 1.0, 2.0], [0.9, 0.05, 0.05]),
        ([0.0, 1.0, 2.0], [0.05, 0.05, 0.9]),
        ([0.0, 1.0, 2.0, 3.0], [0.01, 0.01, 0.97, 0.01]),
    ):
        score = np.repeat(values, (np.array(shares) * 1000).round().astype(int))
        both = np.concatenate([score, score])
        found = Thresholds.from_scores(both, many, bands).risk_band(both, many)
        assert all(set(half) == {0, 1, 2} for half in np.split(found, 2))
    two = np.repeat([0.0, 1.0], 500)
    alone = pd.Categorical(["cart"] * 1000)
    assert set(Thresholds.from_scores(two, alone, bands).risk_band(two, alone)) == {BANDS.index("medium")}
    # A decision point that the calibration split lacks takes the cuts of all its rows.
    elsewhere = pd.Categorical(["engaged"] * 3)
    cuts = Thresholds.from_scores(np.arange(100.0), pd.Categorical(["cart"] * 100), bands)
    assert cuts.risk_band(np.array([0.0, 50.0, 99.0]), elsewhere).tolist() == [2, 1, 0]


def test_what_is_the_same_in_all_rows_of_a_decision_point_is_no_reason_there(
    data: tuple[Dataset, Mart], fitted: dict[str, Model]
) -> None:
    rows, mart = data
    constants = Constants.from_rows(rows.inputs)
    for point, names in constants.names.items():
        own = rows.inputs[np.asarray(rows.decision_point) == point]
        assert set(names) == {name for name in mart.names if own[name].nunique(dropna=False) == 1}
    assert {"decision_point", "events_so_far"} <= set(constants.names["landing"])
    champion = Champion(fitted["catboost"], Calibrator("platt", (), ()), Thresholds({}), constants)
    everything = np.arange(len(rows))
    found = explain(champion, rows, everything, everything, plot_rows=300, seed=1, threads=2)
    features = {(effect.decision_point, effect.feature) for effect in found.effects}
    for point, names in constants.names.items():
        assert {name for place, name in features if place == point} == set(mart.names) - set(names)
    assert {name for place, name in features if place == "all"} == set(mart.names)
    texts = [found.reasons[place].to_pylist() for place in range(3)]
    again = reasons_of(champion, rows, everything, 2)
    assert texts == [each.to_pylist() for each in again]
    for point, row in zip(np.asarray(rows.decision_point), zip(*texts, strict=True), strict=True):
        said = {text.split("(")[-1].split(" = ")[0].rstrip(")") for text in row}
        assert not said & set(constants.names[point])


def test_a_model_of_an_earlier_state_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "features.json"
    path.write_text('{"features": [], "risk_bands": {"high_below": 0.5, "low_from": 2.0}}')
    with pytest.raises(ModelError, match=r"risk bands were multiples of a rate. Run `python -m ml.train`"):
        check_bands(path)
    path.write_text('{"features": [], "risk_band_cuts": {}}')
    check_bands(path)
