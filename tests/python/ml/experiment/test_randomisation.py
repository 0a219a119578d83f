"""Broken randomisation is caught, and arms that were assigned fairly are left in peace."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from ml.config import load_config
from ml.data.gates import GateError
from ml.experiment.balance import Balance
from ml.experiment.experiment import Experiment, Truth
from ml.experiment.randomisation import Randomisation, check_randomisation, is_first

SETTINGS = load_config(environment={}).experiment
LENIENT = SETTINGS.model_copy(update={"allow_mismatch": True})


def covariates(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Features as shops have them: even, heavy-tailed, rare, with nulls, constant, with many levels."""
    frame = pd.DataFrame(
        {
            "even": rng.normal(size=n),
            "heavy": np.exp(2 * rng.normal(size=n)),
            "rare": rng.random(n) < 0.01,
            "counts": rng.poisson(0.05, n),
            "gaps": np.where(rng.random(n) < 0.3, np.nan, rng.exponential(size=n)),
            "mostly_null": np.where(rng.random(n) < 0.98, np.nan, rng.exponential(size=n)),
            "constant": np.ones(n),
        }
    ).astype(np.float32)
    frame["colour"] = pd.Categorical(rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2]))
    frame["item"] = pd.Categorical((rng.zipf(1.4, n) % 300).astype(str))
    return frame


def experiment(
    inputs: pd.DataFrame, treatment: npt.NDArray[np.bool_], share: float = 0.5, visitor: object = None
) -> Experiment:
    arms = treatment.astype(np.int8)
    return Experiment(
        inputs=inputs,
        categorical=tuple(name for name in inputs if inputs[name].dtype == "category"),
        treatment=arms,
        outcome=arms,
        visitor=np.arange(len(arms), dtype=np.int32) if visitor is None else np.asarray(visitor, np.int32),
        split=np.zeros(len(arms), np.int8),
        treated_share=share,
    )


def balance_of(found: Randomisation, covariate: str) -> Balance:
    (entry,) = [entry for entry in found.balances if entry.covariate == covariate]
    return entry


def test_differences_are_those_of_a_plain_computation() -> None:
    rng = np.random.default_rng(1)
    inputs, treated = covariates(3000, rng), rng.random(3000) < 0.3
    found = check_randomisation(experiment(inputs, treated, 0.3), LENIENT)
    values = inputs["gaps"].to_numpy(np.float64)
    one, two = values[treated], values[~treated]
    one, two = one[~np.isnan(one)], two[~np.isnan(two)]
    entry = balance_of(found, "gaps")
    assert (entry.mean_treatment, entry.mean_control) == pytest.approx((one.mean(), two.mean()), rel=1e-9)
    pooled = np.sqrt((one.var(ddof=1) + two.var(ddof=1)) / 2)
    assert entry.smd == pytest.approx((one.mean() - two.mean()) / pooled, rel=1e-9)
    nulls = balance_of(found, "nulls of gaps")
    assert nulls.mean_treatment == pytest.approx(np.isnan(values[treated]).mean(), rel=1e-9)

    table = pd.crosstab(treated, inputs["colour"]).to_numpy()
    (colour,) = [entry for entry in found.balances if entry.covariate.startswith("colour = ")]
    assert colour.p_value == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, rel=1e-9)
    level = colour.covariate.removeprefix("colour = ")
    assert colour.mean_control == pytest.approx((inputs["colour"] == level)[~treated].mean(), rel=1e-9)
    assert found.ratio_p == pytest.approx(stats.binomtest(int(treated.sum()), 3000, 0.3).pvalue, rel=0.05)
    assert (found.visitors_treatment, found.visitors_control) == (treated.sum(), (~treated).sum())
    assert found.worst_p == min(1, found.balances[0].p_value * len(found.balances))
    assert [entry.p_value for entry in found.balances] == sorted(entry.p_value for entry in found.balances)
    assert not any("constant" in entry.covariate for entry in found.balances)


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.statistics
def test_p_values_are_those_of_permuted_arms(share: float) -> None:
    # Ten thousand deals of the same visitors, by brute force, against the curve with the same three moments.
    rng = np.random.default_rng(2)
    values = np.exp(rng.normal(size=400)).astype(np.float32)
    treated = np.zeros(400, dtype=bool)
    treated[: int(400 * share)] = True
    order = rng.permuted(np.tile(np.arange(400), (10_000, 1)), axis=1)
    permuted = values[order].astype(np.float64)
    differences = permuted[:, treated].mean(axis=1) - permuted[:, ~treated].mean(axis=1)
    for place in (0.9, 0.99, 0.998):
        draw = int(np.argsort(differences)[int(10_000 * place)])
        inputs = pd.DataFrame({"x": values[order[draw]]})
        (entry,) = check_randomisation(experiment(inputs, treated, share), LENIENT).balances
        one_sided = (differences >= differences[draw] - 1e-12).mean()
        error = np.sqrt(one_sided / 10_000)
        assert entry.p_value / 2 == pytest.approx(one_sided, abs=4 * error + 0.15 * one_sided)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_rare_flag_agrees_with_the_exact_test(share: float) -> None:
    n, flags, in_treated = 2000, 30, {0.5: 24, 0.1: 11}[share]
    treated = np.arange(n) < n * share
    flag = np.zeros(n, np.float32)
    flag[:in_treated] = 1
    flag[-(flags - in_treated) :] = 1
    (entry,) = check_randomisation(experiment(pd.DataFrame({"flag": flag}), treated, share), LENIENT).balances
    exact = 2 * stats.hypergeom.sf(in_treated - 1, n, flags, treated.sum())
    assert exact < 2e-3
    # The curve is continuous, counts are not: between the chance of as many and that of more.
    assert 2 * stats.hypergeom.sf(in_treated, n, flags, treated.sum()) * 0.5 < entry.p_value < exact * 1.5


@pytest.mark.parametrize("share", [0.5, 0.15])
@pytest.mark.statistics
def test_fair_arms_are_left_in_peace(share: float) -> None:
    rng = np.random.default_rng(3)
    strict = LENIENT.model_copy(update={"highest_mismatch_p": 0.05})
    ratio_p, worst_p, warned = [], [], 0
    for _ in range(200):
        found = check_randomisation(experiment(covariates(1500, rng), rng.random(1500) < share, share), strict)
        assert found.ratio_p is not None
        ratio_p.append(found.ratio_p)
        worst_p.append(found.worst_p)
        warned += bool(found.warnings)
    most = stats.binom.ppf(0.999, 200, 0.05)
    assert 0 < np.sum(np.array(ratio_p) < 0.05) <= most
    assert np.sum(np.array(worst_p) < 0.05) <= most
    assert warned <= stats.binom.ppf(0.999, 200, 0.1)
    assert stats.kstest(ratio_p, "uniform").pvalue > 0.001
    # At the setting that a run uses, no more than one world in two hundred.
    assert sum(min(pair) < SETTINGS.highest_mismatch_p for pair in zip(ratio_p, worst_p, strict=True)) <= 1


def test_a_sample_ratio_mismatch_is_caught() -> None:
    rng = np.random.default_rng(4)
    treated = rng.permutation(np.arange(10_000) < 5_200)
    with pytest.raises(GateError, match=r"50.00% of them.* about 5,000 treated .* 5,200 and 4,800 .*p = 6.3e-05") as e:
        check_randomisation(experiment(covariates(10_000, rng), treated), SETTINGS)
    assert e.value.gate == "sample ratio"
    assert "allow_mismatch" in str(e.value)


def broken(kind: str, inputs: pd.DataFrame, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    tilt = {
        "even": 0.1 * inputs["even"],
        "rare": 0.3 * inputs["rare"],
        "nulls of gaps": 0.1 * inputs["gaps"].isna(),
        "colour = red": 0.08 * (inputs["colour"] == "red"),
    }[kind]
    return np.asarray(rng.random(len(inputs)) < 0.5 + tilt - tilt.mean(), dtype=bool)


@pytest.mark.parametrize("kind", ["even", "rare", "nulls of gaps", "colour = red"])
def test_arms_that_depend_on_a_feature_are_caught(kind: str) -> None:
    rng = np.random.default_rng(5)
    inputs = covariates(20_000, rng)
    with pytest.raises(GateError, match=f"{kind}, mean among treated .*standardised difference 0") as failure:
        check_randomisation(experiment(inputs, broken(kind, inputs, rng)), SETTINGS)
    assert failure.value.gate == "balance"


def test_visitors_lost_from_one_arm_are_caught_by_who_is_missing() -> None:
    # As many in each arm, but the treated who lost heart were not recorded.
    rng = np.random.default_rng(6)
    inputs = covariates(8000, rng)
    treated = np.arange(8000) < 4000
    kept = ~treated | (inputs["even"].to_numpy() > -1)
    lost = experiment(inputs[kept].reset_index(drop=True), treated[kept], float(treated[kept].mean()))
    with pytest.raises(GateError, match="even, mean among treated"):
        check_randomisation(lost, SETTINGS)


def test_chances_of_the_other_arm_are_caught() -> None:
    # Their sum is right whichever arm they are of.
    rng = np.random.default_rng(11)
    inputs, chance = covariates(4000, rng), rng.choice([0.2, 0.5, 0.8], 4000)
    drawn = experiment(inputs, rng.random(4000) < chance)
    found = check_randomisation(replace(drawn, propensity=chance), SETTINGS)
    assert found.ratio_p is not None
    assert not found.warnings
    with pytest.raises(GateError, match="chances of the control") as failure:
        check_randomisation(replace(drawn, propensity=1 - chance), SETTINGS)
    assert failure.value.gate == "chances of treatment"


def test_a_mismatch_that_is_allowed_is_reported() -> None:
    rng = np.random.default_rng(7)
    inputs = covariates(20_000, rng)
    treated = broken("even", inputs, rng) & (rng.random(20_000) < 0.9)
    found = check_randomisation(experiment(inputs, treated), LENIENT)
    assert [text.split(" failed")[0] for text in found.warnings] == ["gate sample ratio", "gate balance"]
    assert all("allow_mismatch" not in text for text in found.warnings)
    assert found.balances[0].covariate == "even"


def test_all_unbalanced_features_are_named() -> None:
    rng = np.random.default_rng(8)
    inputs = covariates(5000, rng)
    treated = rng.random(5000) < 0.5
    inputs["copy"] = treated.astype(np.float32)
    inputs["shift"] = (inputs["even"] + treated).astype(np.float32)
    with pytest.raises(
        GateError, match=r"copy, mean .* 1 and 0 \(standardised difference inf, p = 0 .*also unbalanced: shift"
    ):
        check_randomisation(experiment(inputs, treated), SETTINGS)


def test_later_rows_of_a_visitor_and_rows_without_an_arm_are_not_compared() -> None:
    rng = np.random.default_rng(9)
    visitors = rng.random(4000) < 0.5
    visitor = np.r_[np.arange(4000), np.arange(4000)]
    treated = visitors[visitor]
    inputs = covariates(8000, rng)
    # After the first row the treatment shows.
    inputs["even"] += (5 * (treated & (np.arange(8000) >= 4000))).astype(np.float32)
    found = check_randomisation(experiment(inputs, treated, visitor=visitor), SETTINGS)
    assert found.visitors_treatment + found.visitors_control == 4000

    whole = experiment(inputs, treated, visitor=visitor)
    first_half = np.where(np.arange(8000) < 4000, -1, whole.treatment).astype(np.int8)
    without = Experiment(**{**whole.__dict__, "treatment": first_half})
    with pytest.raises(GateError, match="even"):
        check_randomisation(without, SETTINGS)


def test_without_a_designed_share_the_ratio_is_left_and_said_to_be() -> None:
    rng = np.random.default_rng(10)
    found = check_randomisation(
        experiment(covariates(3000, rng), rng.random(3000) < 0.67, 0.67), SETTINGS, ratio_is_designed=False
    )
    assert found.ratio_p is None
    assert "was not tested" in found.warnings[0]


def test_a_bad_draw_of_the_simulation_blames_the_salt() -> None:
    rng = np.random.default_rng(11)
    whole = experiment(covariates(5000, rng), rng.random(5000) < 0.6)
    nothing = np.zeros(5000, np.int8)
    truth = Truth(nothing, nothing, nothing, ("everybody",), np.zeros(5000))
    with pytest.raises(GateError, match=r"choose another experiment.simulation.salt"):
        check_randomisation(Experiment(**{**whole.__dict__, "truth": truth}), SETTINGS)


def test_few_rows_say_nothing() -> None:
    rng = np.random.default_rng(12)
    inputs = pd.DataFrame({"x": rng.normal(size=30).astype(np.float32)})
    inputs["few"] = np.where(np.arange(30) < 12, inputs["x"], np.nan).astype(np.float32)
    inputs["rare"] = pd.Categorical([str(i) for i in range(30)])
    found = check_randomisation(experiment(inputs, np.arange(30) % 2 == 0), LENIENT)
    assert {entry.covariate for entry in found.balances} == {"x", "nulls of few"}


def test_first_rows() -> None:
    assert is_first(np.array([2, 0, 2, 1, 0], np.int32)).tolist() == [True, True, False, True, False]
    assert is_first(np.array([], np.int32)).tolist() == []
