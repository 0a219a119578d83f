"""Uplift metrics equal scikit-uplift's; intervals cover the truth, and would not if they resampled rows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import sklift.metrics as sklift
import statsmodels.api as sm
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from ml.bootstrap import Bootstrap
from ml.experiment.arms import Arms
from ml.experiment.average_effect import average_effect
from ml.experiment.intervals import widened
from ml.uplift.calibration import uplift_calibration
from ml.uplift.curves import auuc, qini_coefficient, qini_curve, rank_order, uplift_at_k, uplift_curve
from ml.uplift.deciles import UpliftDecile, decile_table
from ml.uplift.metrics import UpliftMetric, evaluate_uplift
from ml.uplift.ranked import RankedArms
from ml.uplift.truth import pehe
from warehouse.errors import FunneliftError

pytestmark = pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:Function stable_cumsum is deprecated")
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Drawn = tuple[Floats, Labels, Labels]
EXACT: dict[str, Any] = {"rel": 1e-9, "abs": 1e-9, "nan_ok": True}


def arms_of(treatment: Labels, outcome: Labels, visitor: Any = None) -> Arms:
    """Return arms; without visitors each row is one."""
    return Arms(treatment, outcome, np.arange(len(outcome), dtype=np.int32) if visitor is None else visitor)


def made_up(rows: int, seed: int, treated: float = 0.5, rate: float = 0.2, decimals: int = 17) -> Drawn:
    """Draw a score, random arms and outcomes that the score and the arm both raise."""
    rng = np.random.default_rng(seed)
    score = rng.random(rows)
    treatment = (rng.random(rows) < treated).astype(np.int8)
    outcome = (rng.random(rows) < rate * (0.5 + score * (1 + treatment))).astype(np.int8)
    return np.round(score, decimals), treatment, outcome


def visits(visitors: int, seed: int) -> npt.NDArray[np.int32]:
    return np.repeat(np.arange(visitors, dtype=np.int32), np.random.default_rng(seed).integers(1, 5, visitors))


def of_scikit_uplift(metric: Callable[..., float], *given_to: Any, **options: Any) -> float:
    """Call a metric of scikit-uplift; NaN where it divides by zero."""
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(metric(*given_to, **options))
    except ZeroDivisionError:
        return np.nan


def is_complete(treatment: Labels, outcome: Labels) -> bool:
    return len(np.unique(treatment)) == len(np.unique(outcome)) == 2


arms = st.builds(
    made_up,
    rows=st.integers(10, 400),
    seed=st.integers(0, 2**31),
    treated=st.sampled_from([0.05, 0.3, 0.5, 0.9]),
    rate=st.sampled_from([0.01, 0.05, 0.3, 0.6]),
    decimals=st.sampled_from([0, 1, 2, 17]),
)


@settings(max_examples=150, deadline=None)
@given(drawn=arms)
def test_curves_and_areas_equal_scikit_uplifts_with_and_without_ties(drawn: Drawn) -> None:
    score, treatment, outcome = drawn
    assume(is_complete(treatment, outcome))
    theirs = (outcome, score, treatment)
    for ours, reference in ((qini_curve, sklift.qini_curve), (uplift_curve, sklift.uplift_curve)):
        for found, expected in zip(ours(score, arms_of(treatment, outcome)), reference(*theirs), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    ours_at = (score, arms_of(treatment, outcome))
    assert qini_coefficient(*ours_at) == pytest.approx(of_scikit_uplift(sklift.qini_auc_score, *theirs), **EXACT)
    assert auuc(*ours_at) == pytest.approx(of_scikit_uplift(sklift.uplift_auc_score, *theirs), **EXACT)


@settings(max_examples=100, deadline=None)
@given(drawn=arms, share=st.sampled_from([0.05, 0.1, 0.29, 0.3, 0.57, 0.9]))
def test_uplift_at_k_equals_scikit_uplifts(drawn: Drawn, share: float) -> None:
    score, treatment, outcome = drawn
    assume(is_complete(treatment, outcome))
    expected = of_scikit_uplift(sklift.uplift_at_k, outcome, score, treatment, strategy="overall", k=share)
    assert uplift_at_k(score, arms_of(treatment, outcome), share) == pytest.approx(expected, **EXACT)


@settings(max_examples=100, deadline=None)
@given(cells=st.tuples(*[st.integers(0, 6)] * 4), seed=st.integers(0, 1000))
def test_areas_equal_scikit_uplifts_where_outcomes_are_lopsided(cells: tuple[int, int, int, int], seed: int) -> None:
    treatment = np.repeat(np.array([1, 1, 0, 0], np.int8), cells)
    outcome = np.repeat(np.array([1, 0, 1, 0], np.int8), cells)
    assume(is_complete(treatment, outcome))
    score = np.random.default_rng(seed).random(len(outcome))
    ours, theirs = (score, arms_of(treatment, outcome)), (outcome, score, treatment)
    assert qini_coefficient(*ours) == pytest.approx(of_scikit_uplift(sklift.qini_auc_score, *theirs), **EXACT)
    assert auuc(*ours) == pytest.approx(of_scikit_uplift(sklift.uplift_auc_score, *theirs), **EXACT)


def test_a_perfect_ranking_has_coefficient_one_and_its_reverse_less_than_none() -> None:
    _, treatment, outcome = made_up(500, 1)
    perfect = (outcome * (2.0 * treatment - 1)).astype(np.float64)
    assert qini_coefficient(perfect, arms_of(treatment, outcome)) == pytest.approx(1, abs=1e-12)
    assert qini_coefficient(-perfect, arms_of(treatment, outcome)) < -0.4


def test_metrics_are_nan_without_an_arm_or_a_conversion() -> None:
    score, treatment, outcome = made_up(50, 2)
    nothing, all_treated = np.zeros(50, np.int8), np.ones(50, np.int8)
    for metric in (qini_coefficient, auuc):
        assert np.isnan(metric(score, arms_of(treatment, nothing)))
        assert np.isnan(metric(score, arms_of(all_treated, outcome)))
        assert np.isnan(metric(score, arms_of(nothing, outcome)))
    assert np.isnan(uplift_at_k(score, arms_of(all_treated, outcome), 0.5))


def test_ties_are_broken_at_random() -> None:
    score = np.array([0.5, 0.9, 0.5, 0.1, 0.5])
    seen = {tuple(rank_order(score, seed)) for seed in range(100)}
    assert {order[0] for order in seen} == {1}
    assert {order[-1] for order in seen} == {3}
    assert len(seen) == 6
    assert (rank_order(score, 7) == rank_order(score, 7)).all()


@settings(max_examples=60, deadline=None)
@given(drawn=arms, seed=st.integers(0, 1000), share=st.sampled_from([0.1, 0.29, 0.5]))
def test_weighted_metrics_equal_scikit_uplifts_on_rows_that_are_copied(drawn: Drawn, seed: int, share: float) -> None:
    score, treatment, outcome = drawn
    rng = np.random.default_rng(seed)
    visitors = max(3, len(score) // 3)
    drawn_arms = arms_of(treatment, outcome, rng.integers(0, visitors, len(score)))
    weights = rng.poisson(1, (2, drawn_arms.n_visitors)).astype(np.uint8)
    found = RankedArms(score, drawn_arms, [share], seed).metrics(weights)
    rank = np.empty(len(score))
    rank[rank_order(score, seed)] = np.arange(len(score), 0, -1)
    for values, weight in zip(found, weights, strict=True):
        copied = np.repeat(np.arange(len(score)), weight[drawn_arms.visitor_codes])
        arm, converted, ranks, tied = treatment[copied], outcome[copied], rank[copied], score[copied]
        if not is_complete(arm, converted):
            continue
        theirs = (converted, tied, arm)
        assert values[0] == pytest.approx(of_scikit_uplift(sklift.qini_auc_score, *theirs), **EXACT)
        assert values[1] == pytest.approx(of_scikit_uplift(sklift.uplift_auc_score, *theirs), **EXACT)
        at_k = of_scikit_uplift(sklift.uplift_at_k, converted, ranks, arm, strategy="overall", k=share)
        assert values[2] == pytest.approx(at_k, **EXACT)
        assert values[0] == pytest.approx(qini_coefficient(tied, arms_of(arm, converted)), **EXACT)


def test_a_resample_without_rows_or_conversions_is_nan() -> None:
    score, treatment, outcome = made_up(30, 3)
    nobody = RankedArms(score, arms_of(treatment, outcome), [0.1], 1)
    assert np.isnan(nobody.metrics(np.zeros((1, 30), np.uint8))).all()
    idle = RankedArms(score, arms_of(treatment, np.zeros(30, np.int8)), [0.5], 1)
    values = idle.metrics(np.ones((1, 30), np.uint8))[0]
    assert np.isnan(values[:2]).all()
    assert values[2] == 0


def by_key(found: list[UpliftMetric]) -> dict[tuple[str, str, str], UpliftMetric]:
    keyed = {(entry.learner, entry.versus, entry.metric): entry for entry in found}
    assert len(keyed) == len(found)
    return keyed


def bounds(entry: UpliftMetric | UpliftDecile) -> tuple[float, float]:
    return entry.ci_lower, entry.ci_upper


def bootstrap(resamples: int = 200, confidence: float = 0.95, seed: int = 1, threads: int = 2) -> Bootstrap:
    return Bootstrap(resamples, confidence, seed, threads)


def evaluated(
    scores: dict[str, Floats], arms: Arms, shares: tuple[float, ...] = (0.1, 0.3), **other: Any
) -> dict[tuple[str, str, str], UpliftMetric]:
    return by_key(evaluate_uplift(scores, arms, shares, bootstrap(**({"seed": 5} | other))))


def test_every_learner_is_evaluated_alone_and_against_its_references() -> None:
    score, treatment, outcome = made_up(2000, 4)
    rng = np.random.default_rng(4)
    scores = {name: score + rng.normal(0, 0.3, 2000) for name in ("chosen", "x_learner", "response", "random")}
    scores["t_learner"] = scores["chosen"]
    found = evaluated(scores, arms_of(treatment, outcome))
    metrics = ("qini", "auuc", "uplift_at_10", "uplift_at_30")
    pairs = {(name, "") for name in scores} | {(name, "response") for name in scores if name != "response"}
    pairs |= {("x_learner", "chosen"), ("random", "chosen")}
    assert set(found) == {(*pair, name) for pair in pairs for name in metrics} | {("all", "", "average_effect")}
    for (learner, versus, metric), entry in found.items():
        assert (entry.n_rows, entry.n_treatment, entry.n_control) == (2000, treatment.sum(), (1 - treatment).sum())
        assert entry.ci_lower < entry.value < entry.ci_upper
        if versus:
            alone = found[learner, "", metric].value - found[versus, "", metric].value
            assert entry.value == pytest.approx(alone, abs=1e-12)
    assert found["x_learner", "", "qini"].value == pytest.approx(
        qini_coefficient(scores["x_learner"], arms_of(treatment, outcome)), abs=1e-9
    )


def test_equal_scores_do_not_differ_and_like_scores_hardly() -> None:
    score, treatment, outcome = made_up(3000, 5, decimals=1)
    scores = {"chosen": score, "x_learner": score.copy(), "response": score + 1e-3 * np.arange(3000)}
    found = evaluated(scores, arms_of(treatment, outcome))
    same = found["x_learner", "chosen", "qini"]
    assert (same.value, *bounds(same)) == (0, 0, 0)
    like, alone = found["chosen", "response", "qini"], found["chosen", "", "qini"]
    assert np.ptp(bounds(like)) > 0
    close = {"t_learner": score, "response": score + 0.02 * np.sin(np.arange(3000))}
    nearly = evaluated(close, arms_of(treatment, outcome))
    assert np.ptp(bounds(nearly["t_learner", "response", "qini"])) < 0.6 * np.ptp(bounds(alone))


def test_the_numbers_do_not_depend_on_the_threads() -> None:
    score, treatment, outcome = made_up(500, 6)
    visitor = np.arange(500, dtype=np.int32) // 2
    scores = {"t_learner": score, "response": -score}
    arms = arms_of(treatment, outcome, visitor)
    assert evaluated(scores, arms, threads=1) == evaluated(scores, arms, threads=3)


def test_copied_rows_of_a_visitor_do_not_narrow_an_interval() -> None:
    score, treatment, outcome = made_up(1500, 7)
    visitor = np.arange(1500, dtype=np.int32)
    once = evaluated({"t_learner": score}, arms_of(treatment, outcome, visitor))
    copies: list[Any] = [np.repeat(array, 4) for array in (treatment, outcome, visitor)]
    four = evaluated({"t_learner": np.repeat(score, 4)}, arms_of(*copies))
    for key, entry in once.items():
        assert np.ptp(bounds(four[key])) == pytest.approx(np.ptp(bounds(entry)), rel=0.02), key


def test_the_average_effect_is_the_difference_in_means_with_welchs_interval() -> None:
    _, treatment, outcome = made_up(3001, 8, treated=0.3)
    value, *interval = average_effect(arms_of(treatment, outcome), 0.9)
    treated, control = outcome[treatment == 1], outcome[treatment == 0]
    assert value == treated.mean() - control.mean()
    compared = CompareMeans(DescrStatsW(treated.astype(float)), DescrStatsW(control.astype(float)))
    assert interval == pytest.approx(compared.zconfint_diff(alpha=0.1, usevar="unequal"), abs=1e-12)
    entries = evaluated({"t_learner": np.arange(3001.0)}, arms_of(treatment, outcome), confidence=0.9)
    found = entries["all", "", "average_effect"]
    assert (found.value, *bounds(found)) == (value, *interval)


def test_the_average_effects_interval_equals_statsmodels_clustered_one() -> None:
    visitor = visits(400, 9)
    rng = np.random.default_rng(9)
    treatment = (rng.random(400) < 0.4).astype(np.int8)[visitor]
    outcome = (rng.random(len(visitor)) < np.where(visitor % 3, 0.1, 0.7)).astype(np.int8)
    variance = 0.0
    for arm in (0, 1):
        rows = treatment == arm
        mean = sm.OLS(outcome[rows], np.ones(rows.sum())).fit(cov_type="cluster", cov_kwds={"groups": visitor[rows]})
        variance += mean.bse[0] ** 2
    value, lower, upper = average_effect(arms_of(treatment, outcome, visitor), 0.95)
    half = 1.959963984540054 * np.sqrt(variance)
    assert (lower, upper) == pytest.approx((value - half, value + half), abs=1e-12)
    # Visitors whose rows have both arms: their residuals partly cancel, as in the joint regression.
    mixed = (rng.random(len(visitor)) < 0.5).astype(np.int8)
    both = sm.OLS(outcome, sm.add_constant(mixed)).fit(cov_type="cluster", cov_kwds={"groups": visitor})
    _, lower, upper = average_effect(arms_of(mixed, outcome, visitor), 0.95)
    assert upper - lower == pytest.approx(np.ptp(both.conf_int()[1]), rel=2e-3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("no control", "0 visitors among the control test rows"),
        ("one treated visitor", "1 visitors among the treated test rows"),
        ("no conversion", "t_learner: qini, auuc not defined on the 200 test rows"),
        ("nan", "t_learner: 1 of 200 test rows have a score that is not a finite number"),
        ("one arm on top", "uplift_at_10, uplift_at_30 not defined"),
    ],
)
def test_rows_that_cannot_be_evaluated_are_refused_with_the_reason(change: str, told: str) -> None:
    score, treatment, outcome = made_up(200, 10)
    if change == "no control":
        treatment[:] = 1
    elif change == "one treated visitor":
        treatment = np.eye(1, 200, dtype=np.int8)[0]
    elif change == "no conversion":
        outcome[:] = 0
    elif change == "nan":
        score[3] = np.nan
    else:
        score = treatment + score
    with pytest.raises(FunneliftError, match=told):
        evaluated({"t_learner": score}, arms_of(treatment, outcome))


def table(decile: Any, predicted: Floats, arms: Arms, **other: Any) -> list[UpliftDecile]:
    return decile_table(decile, predicted, arms, 0.95, learner="t_learner", **other)


def test_deciles_equal_a_plain_recount() -> None:
    predicted, treatment, outcome = made_up(6000, 11, treated=0.35)
    decile = 10 - (predicted * 10).astype(np.int8)
    found = table(decile, predicted, arms_of(treatment, outcome), true_effect=2 * predicted)
    frame = pd.DataFrame({"decile": decile, "s": predicted, "t": treatment, "y": outcome})
    assert [entry.decile for entry in found] == list(range(1, 11))
    for entry in found:
        part = frame[frame.decile == entry.decile]
        treated, control = part[part.t == 1].y, part[part.t == 0].y
        assert (entry.n_treatment, entry.n_control) == (len(treated), len(control))
        assert (entry.conversions_treatment, entry.conversions_control) == (treated.sum(), control.sum())
        assert entry.predicted_uplift == pytest.approx(part.s.mean(), abs=1e-12)
        assert entry.true_uplift == pytest.approx(2 * part.s.mean(), abs=1e-12)
        assert entry.observed_uplift == pytest.approx(treated.mean() - control.mean(), abs=1e-12)
        means = CompareMeans(DescrStatsW(treated.astype(float)), DescrStatsW(control.astype(float)))
        assert bounds(entry) == pytest.approx(means.tconfint_diff(usevar="unequal"), abs=1e-12)


def test_intervals_of_deciles_hold_what_is_true_by_visitor() -> None:
    rng = np.random.default_rng(3)
    inside, own = [], np.repeat(np.arange(150, dtype=np.int32), 2)
    for _ in range(1000):
        # Rows of a visitor have one arm and do the same: 150 of them are all there is.
        treatment, converts = rng.integers(0, 2, 150).astype(np.int8), rng.random(150)
        outcome = (converts < 0.3 + 0.1 * treatment).astype(np.int8)
        (entry,) = table(np.ones(300, np.int8), np.zeros(300), arms_of(treatment[own], outcome[own], own))
        inside.append(entry.ci_lower <= 0.1 <= entry.ci_upper)
    assert 0.93 < np.mean(inside) < 0.97


def test_a_decile_with_one_visitor_in_an_arm_says_nothing() -> None:
    treatment, outcome = np.array([1, 1, 0, 0, 0], np.int8), np.array([1, 0, 1, 0, 0], np.int8)
    visitor = np.array([0, 0, 1, 2, 3], np.int32)
    (entry,) = table(np.ones(5, np.int8), np.zeros(5), arms_of(treatment, outcome, visitor))
    assert bounds(entry) == (-1, 1)


def test_a_decile_without_rows_or_without_an_arm_is_left_out() -> None:
    predicted, treatment, outcome = made_up(800, 12)
    decile = 1 + np.arange(800) % 10
    decile[decile == 4] = 5
    treatment[decile == 7] = 1
    found = table(decile, predicted, arms_of(treatment, outcome))
    assert [entry.decile for entry in found] == [1, 2, 3, 5, 6, 8, 9, 10]
    assert all(entry.true_uplift is None for entry in found)
    assert all(np.isfinite([entry.observed_uplift, *bounds(entry)]).all() for entry in found)


def test_an_arm_without_conversions_still_has_an_interval() -> None:
    treatment = np.repeat(np.array([1, 0], np.int8), (60, 90))
    outcome = np.zeros(150, np.int8)
    visitor = np.arange(150, dtype=np.int32)
    newcombe = confint_proportions_2indep(0, 60, 0, 90, method="newcomb", compare="diff")
    arms = arms_of(treatment, outcome, visitor)
    assert widened(0.0, (0.0, 0.0), arms, 0.95) == pytest.approx(newcombe, abs=1e-12)
    found = table(np.ones(150, np.int8), np.zeros(150), arms)[0]
    assert bounds(found) == pytest.approx(newcombe, abs=1e-12)
    everyone = confint_proportions_2indep(60, 60, 90, 90, method="newcomb", compare="diff")
    converted = arms_of(treatment, outcome + np.int8(1), visitor)
    assert widened(0.0, (0.0, 0.0), converted, 0.95) == pytest.approx(everyone, abs=1e-12)
    # Copies of a visitor's rows are no further evidence.
    copied = arms.take(np.repeat(np.arange(150), 3))
    assert widened(0.0, (0.0, 0.0), copied, 0.95) == pytest.approx(newcombe, abs=1e-12)
    # Where one arm is silent, only the bound on its side moves.
    outcome[:20] = 1
    lower, upper = widened(1 / 3, (0.2, 0.45), arms_of(treatment, outcome, visitor), 0.95)
    assert (lower, upper) == pytest.approx((1 / 3 - np.hypot(1 / 3 - 0.2, -newcombe[0]), 0.45), abs=1e-12)
    lower, upper = widened(-1 / 3, (-0.45, -0.2), arms_of(1 - treatment, outcome, visitor), 0.95)
    assert (lower, upper) == pytest.approx((-0.45, -1 / 3 + np.hypot(1 / 3 - 0.2, -newcombe[0])), abs=1e-12)


def test_uplift_at_k_has_an_interval_where_every_resample_agrees() -> None:
    treatment = np.repeat(np.array([1, 0], np.int8), (60, 90))
    outcome = (np.arange(150) < 40).astype(np.int8)
    # On top 15 control rows, then 15 treated rows that converted, as would the 25 that follow.
    score = np.where((np.arange(150) >= 60) & (np.arange(150) < 75), 1000.0, -np.arange(150.0))
    entries = evaluated({"t_learner": score}, arms_of(treatment, outcome), (0.2,))
    found = entries["t_learner", "", "uplift_at_20"]
    newcombe = confint_proportions_2indep(15, 15, 0, 15, method="newcomb", compare="diff")
    assert (found.value, *bounds(found)) == pytest.approx((1, *newcombe), abs=1e-12)


def calibrated(predicted: Floats, arms: Arms, resamples: int = 200, bins: int = 10) -> dict[str, UpliftMetric]:
    found = uplift_calibration("t_learner", predicted, arms, bootstrap(resamples), bins=bins)
    return {entry.metric: entry for entry in found}


def test_the_slope_is_the_interaction_of_the_best_linear_predictor() -> None:
    predicted, treatment, outcome = made_up(4000, 13, treated=0.3)
    predicted = predicted**3
    centred, moved = treatment - treatment.mean(), predicted - predicted.mean()
    design = np.column_stack([np.ones(4000), predicted, centred, centred * moved])
    found = calibrated(predicted, arms_of(treatment, outcome))["calibration_slope"]
    fitted = sm.OLS(outcome, design).fit(cov_type="HC1")
    assert found.value == pytest.approx(fitted.params[3], abs=1e-9)
    assert np.ptp(bounds(found)) == pytest.approx(np.ptp(fitted.conf_int()[3]), rel=0.15)
    assert (found.n_rows, found.n_treatment, found.n_control) == (4000, treatment.sum(), (1 - treatment).sum())


def test_the_slope_says_by_how_much_predictions_spread_too_far() -> None:
    score, treatment, outcome = made_up(200_000, 14)
    effect = 0.2 * score
    for stretch in (0.5, 1, 3):
        entry = calibrated(stretch * effect + 0.4, arms_of(treatment, outcome), 50)["calibration_slope"]
        assert entry.ci_lower < 1 / stretch < entry.ci_upper
        assert entry.value == pytest.approx(1 / stretch, rel=0.1)


def test_the_calibration_error_equals_its_definition() -> None:
    predicted, treatment, outcome = made_up(2000, 15)
    parts = np.array_split(np.argsort(predicted), 8)
    gaps = [
        abs(predicted[p].mean() - outcome[p][treatment[p] == 1].mean() + outcome[p][treatment[p] == 0].mean())
        for p in parts
    ]
    found = calibrated(predicted, arms_of(treatment, outcome), bins=8)
    assert found["calibration_error"].value == pytest.approx(np.mean(gaps), abs=1e-12)
    assert found["calibration_error"].ci_lower > 0
    # The floor of the docstring, from the bins' own rates.
    floors = []
    for p in parts:
        rates = [outcome[p][treatment[p] == arm] for arm in (0, 1)]
        floors.append(np.sqrt(2 / np.pi * sum(rate.var() / len(rate) for rate in rates)))
    assert found["calibration_error_floor"].value == pytest.approx(np.mean(floors), rel=0.1)


def test_bins_without_an_arm_do_not_count_and_one_prediction_has_no_slope() -> None:
    predicted, treatment, outcome = made_up(1000, 16)
    treatment[predicted >= np.sort(predicted)[900]] = 1
    kept = predicted < np.sort(predicted)[900]
    found = calibrated(predicted, arms_of(treatment, outcome))["calibration_error"]
    expected = calibrated(predicted[kept], arms_of(treatment[kept], outcome[kept]), bins=9)["calibration_error"]
    assert found.value == pytest.approx(expected.value, abs=1e-12)
    difference = outcome[treatment == 1].mean() - outcome[treatment == 0].mean()
    for value in (0, 0.07, 0.1, 1 / 3):
        constant = calibrated(np.full(1000, value), arms_of(treatment, outcome))
        rounded = calibrated((predicted + value) - predicted, arms_of(treatment, outcome))
        assert set(constant) == set(rounded) == {"calibration_error", "calibration_error_floor"}
        assert constant["calibration_error"].value == pytest.approx(abs(difference - value), abs=1e-12)


def test_pehe_is_the_root_mean_squared_error() -> None:
    assert pehe(np.array([0.1, 0.2, 0.4]), np.array([0.1, 0.5, 0.0])) == pytest.approx(np.sqrt(0.25 / 3), abs=1e-12)


@dataclass(frozen=True)
class World:
    """A visitor's score and latent threshold are shared by most of its rows; the effect is 0.3 times the score."""

    score: Floats
    treatment: Labels
    outcome: Labels
    visitor: npt.NDArray[np.int32]


# The effect's means over scores uniform on (0, 1), above 0.7 and above 0.9; and it is the prediction itself.
TRUTH = {"average_effect": 0.15, "uplift_at_30": 0.3 * 0.85, "top decile": 0.3 * 0.95}
TRUTH |= {"calibration_slope": 1, "calibration_error": 0}


def world(seed: int, visitors: int = 1200) -> World:
    rng = np.random.default_rng(seed)
    visitor = np.repeat(np.arange(visitors, dtype=np.int32), rng.permutation(np.arange(visitors) % 5 + 1))
    score, treatment = rng.random(visitors)[visitor], rng.permutation(visitors)[visitor] % 2
    latent, own = rng.random(visitors)[visitor], rng.random(len(visitor))
    threshold = np.where(rng.random(len(visitor)) < 0.8, latent, own)
    outcome = threshold < 0.1 + 0.2 * score + 0.3 * score * treatment
    return World(score, treatment.astype(np.int8), outcome.astype(np.int8), visitor)


@cache
def coverage(by_visitor: bool, worlds: int) -> dict[str, float]:
    hits = dict.fromkeys(TRUTH, 0)
    with pytest.MonkeyPatch.context() as patch:
        # All worlds are of one size, so they can share the draw of the weights, which takes longer than the rest.
        patch.setattr(Bootstrap, "weights", cache(Bootstrap.weights))
        for seed in range(worlds):
            drawn = world(seed)
            unit = drawn.visitor if by_visitor else np.arange(len(drawn.visitor), dtype=np.int32)
            arms = Arms(drawn.treatment, drawn.outcome, unit)
            metrics = evaluate_uplift({"t_learner": drawn.score}, arms, (0.3,), bootstrap(threads=1))
            metrics += calibrated(0.3 * drawn.score, arms).values()
            intervals: dict[str, UpliftMetric | UpliftDecile] = {entry.metric: entry for entry in metrics}
            decile = 10 - (drawn.score * 10).astype(np.int8)
            intervals["top decile"] = table(decile, drawn.score, arms)[0]
            for name, truth in TRUTH.items():
                hits[name] += intervals[name].ci_lower <= truth <= intervals[name].ci_upper
    return {name: count / worlds for name, count in hits.items()}


@pytest.mark.parametrize("figure", TRUTH)
@pytest.mark.statistics
def test_intervals_cover_the_truth_as_often_as_they_say(figure: str) -> None:
    assert 0.92 <= coverage(by_visitor=True, worlds=200)[figure] <= 0.98


@pytest.mark.parametrize("figure", TRUTH)
@pytest.mark.statistics
def test_intervals_that_resample_rows_would_cover_too_rarely(figure: str) -> None:
    assert coverage(by_visitor=False, worlds=60)[figure] < 0.9
