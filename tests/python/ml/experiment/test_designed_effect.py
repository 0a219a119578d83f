"""The average effect by design: equal to what statsmodels says, honest where units are few, right on real trials."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from ml.config import load_config
from ml.data.gates import GateError
from ml.experiment.designed import AverageEffect, Design, designed_effect
from ml.experiment.difference import Units, sequence_reach
from ml.experiment.file import Columns, FileExperiment, from_file
from warehouse.errors import FunneliftError

CONFIG = load_config(environment={})


def effect_of(design: Design, inputs: pd.DataFrame | None = None) -> AverageEffect:
    features = pd.DataFrame(index=range(len(design.treatment))) if inputs is None else inputs
    return designed_effect(design, features, confidence=0.95, tuned_for=5000, seed=1)


def units_of(treatment: Any, stratum: Any) -> Units:
    ones = np.ones(len(treatment))
    return Units(np.asarray(treatment, np.int8), np.asarray(stratum), ones, ones)


def test_one_row_a_unit_is_welchs_test() -> None:
    rng = np.random.default_rng(1)
    treatment, outcome = (rng.random(300) < 0.3).astype(np.int8), rng.gamma(2, 3, 300)
    found = effect_of(Design(treatment, outcome, np.arange(300, dtype=np.int32)))
    compared = CompareMeans(DescrStatsW(outcome[treatment == 1]), DescrStatsW(outcome[treatment == 0]))
    assert found.effect[1:] == pytest.approx(compared.tconfint_diff(usevar="unequal"), abs=1e-12)
    assert found.p_value == pytest.approx(compared.ttest_ind(usevar="unequal")[1], abs=1e-12)
    # The delta method on the logarithm of the ratio, by hand.
    assert found.relative is not None
    logs = [
        (rows.mean(), rows.var(ddof=1) / len(rows), len(rows))
        for rows in (outcome[treatment == 1], outcome[treatment == 0])
    ]
    parts = np.array([variance / mean**2 for mean, variance, _ in logs])
    degrees = parts.sum() ** 2 / sum(part**2 / (n - 1) for part, (*_, n) in zip(parts, logs, strict=True))
    reach = stats.t.ppf(0.975, degrees) * np.sqrt(parts.sum())
    ratio = logs[0][0] / logs[1][0]
    assert found.relative == pytest.approx(
        (ratio - 1, ratio * np.exp(-reach) - 1, ratio * np.exp(reach) - 1), abs=1e-12
    )


def test_pairs_are_the_paired_t_test_and_strata_are_weighted_by_their_rows() -> None:
    rng = np.random.default_rng(2)
    level = rng.normal(0, 5, 30)
    treated, control = level + 0.5 + rng.normal(size=30), level + rng.normal(size=30)
    found = units_of(np.repeat([1, 0], 30), np.tile(np.arange(30), 2)).difference(np.concatenate([treated, control]))
    paired = stats.ttest_rel(treated, control)
    assert found.interval(0.95) == pytest.approx(tuple(paired.confidence_interval(0.95)), abs=1e-12)
    assert found.p_value == pytest.approx(paired.pvalue, abs=1e-12)
    stratum = np.repeat([0, 1], [400, 100])
    treatment = (np.arange(500) % np.where(stratum == 0, 2, 10) == 0).astype(np.int8)
    found = units_of(treatment, stratum).difference(np.where(stratum == 0, 30.0, 10.0) + treatment * (2 + 5 * stratum))
    assert found.value == pytest.approx(0.8 * 2 + 0.2 * 7)


def test_known_chances_weigh_rows_as_strata_of_these_chances_do() -> None:
    rng = np.random.default_rng(3)
    chance = rng.choice([0.5, 0.1], 20_000)
    treatment = (rng.random(20_000) < chance).astype(np.int8)
    outcome = (rng.random(20_000) < np.where(chance > 0.3, 0.3, 0.1) + 0.02 * treatment).astype(float)
    unit = np.arange(20_000, dtype=np.int32)
    weighted = effect_of(Design(treatment, outcome, unit, propensity=chance)).effect
    within = effect_of(Design(treatment, outcome, unit, stratum=(chance > 0.3).astype(np.int32))).effect
    assert weighted[1] < 0.02 < weighted[2]
    assert within[1] < 0.02 < within[2]
    assert abs(weighted[0] - within[0]) < 0.005


def test_adjustment_keeps_the_effect_and_takes_out_noise() -> None:
    rng = np.random.default_rng(4)
    inputs = pd.DataFrame({"before": rng.normal(size=2000).astype(np.float32), "noise": rng.normal(size=2000)})
    treatment = (np.arange(2000) % 2).astype(np.int8)
    outcome = 2 * inputs["before"].to_numpy(float) + 0.2 * treatment + rng.normal(size=2000)
    found = effect_of(Design(treatment, outcome, np.arange(2000, dtype=np.int32)), inputs)
    assert found.adjusted is not None
    assert np.ptp(found.adjusted) == pytest.approx(np.ptp(found.effect) / np.sqrt(5), rel=0.1)
    assert found.adjusted[1] < 0.2 < found.adjusted[2]


def test_users_are_judged_where_the_treatment_makes_more_rows() -> None:
    rng = np.random.default_rng(5)
    arm = rng.integers(0, 2, 10_000)
    user = np.repeat(np.arange(10_000, dtype=np.int32), 1 + arm)
    outcome = (rng.random(len(user)) < np.where(arm[user] == 1, 0.065, 0.10)).astype(float)
    found = effect_of(Design(arm[user].astype(np.int8), outcome, user, name="users"))
    assert not found.rows_are_even
    assert "differ in rows per unit (2 rows" in found.warnings[0]
    assert found.effect[1] < 1 - 0.935**2 - 0.10 < found.effect[2]


@pytest.mark.parametrize("stores", [8, 20])
def test_few_stores_have_honest_intervals(stores: int) -> None:
    rng = np.random.default_rng(6)
    store = np.repeat(np.arange(stores, dtype=np.int32), 50)
    covered, chances = 0, []
    for world in range(400):
        arm = rng.permutation(np.arange(stores) % 2)[store].astype(np.int8)
        rate = np.clip(0.3 + 0.1 * rng.normal(size=stores), 0, 1)[store]
        outcome = (rng.random(len(store)) < rate).astype(float)
        units = Units(arm[::50], np.zeros(stores, np.intp), np.full(stores, 50.0), np.full(stores, 50.0))
        total = np.bincount(store, outcome)
        low, high = units.difference(total).interval(0.95)
        covered += low <= 0 <= high
        if world < 30:
            chances.append(units.chance(total, 1))
    assert 0.92 <= covered / 400 <= 0.985
    assert 0.25 < np.mean(chances) < 0.75
    found = effect_of(Design(arm, outcome, store, name="stores"))
    assert found.chance_p is not None
    assert "only few units were drawn" in found.warnings[0]


def test_a_confidence_sequence_holds_at_every_look() -> None:
    rng = np.random.default_rng(7)
    looks = np.arange(200, 5001, 100)
    left = {"fixed": 0, "sequence": 0}
    for _ in range(400):
        path = np.cumsum(rng.normal(size=5000))[looks - 1] / looks
        reach = np.array([sequence_reach(1 / np.sqrt(n), int(n), 5000, 0.95) for n in looks])
        left["sequence"] += bool((abs(path) > reach).any())
        left["fixed"] += bool((abs(path) > 1.96 / np.sqrt(looks)).any())
    assert left["sequence"] <= 0.05 * 400
    assert left["fixed"] > 0.15 * 400


# Real trials


def trial(shared_data: Path, file: str, ignore: str, **columns: Any) -> FileExperiment:
    return from_file(shared_data / "rct" / file, Columns(**columns, ignore=tuple(ignore.split())), CONFIG)


TRIALS = {
    "karlan": (
        "karlan_list_charity.csv.gz", "match_ratio out_amountgive out_changeamtgive",
        {"treatment": "treatment", "outcome": "out_gavedum"}, (0.00418, 0.00163, 0.00673),
    ),
    "karlan's dollars": (
        "karlan_list_charity.csv.gz", "match_ratio out_gavedum out_changeamtgive",
        {"treatment": "treatment", "outcome": "out_amountgive"}, (0.152, -0.005, 0.309),
    ),
    "resume": (
        "resume_callbacks.csv", "firstname",
        {"treatment": "race", "outcome": "received_callback", "treated": "white", "control": "black",
         "stratum": "job_ad_id"}, (0.0320, 0.0199, 0.0442),
    ),
    "star": (
        "star_kindergarten.csv", "tmathssk treadssk schidkn",
        {"treatment": "classk", "outcome": "score", "treated": "small.class", "control": "regular"}, (14.1, 9.3, 18.9),
    ),
    "star within schools": (
        "star_kindergarten.csv", "tmathssk treadssk",
        {"treatment": "classk", "outcome": "score", "treated": "small.class", "control": "regular",
         "stratum": "schidkn"}, (16.4, 12.1, 20.7),
    ),
    "colon": (
        "colon_death.csv", "time study etype id",
        {"treatment": "rx", "outcome": "status", "treated": "Lev+5FU", "control": "Obs", "lower_is_better": True},
        (-0.129, -0.207, -0.051),
    ),
    "respiratory": (
        "respiratory_four_visits.csv", "id",
        {"treatment": "treat", "outcome": "outcome", "treated": "a", "control": "p", "visitor": "patient"},
        (0.238, 0.095, 0.380),
    ),
    "thornton": (
        "thornton_hiv_complete.csv", "", {"treatment": "any", "outcome": "got", "stratum": "villnum"},
        (0.443, 0.399, 0.487),
    ),
    "nsw": (
        "nsw_jtrain2.csv", "re78 lre78 mosinex mostrn",
        {"treatment": "train", "outcome": "unem78", "lower_is_better": True}, (-0.111, -0.196, -0.025),
    ),
    "nsw's earnings": (
        "nsw_jtrain2.csv", "unem78 lre78 mosinex mostrn", {"treatment": "train", "outcome": "re78"}, (1.794, 0.48, 3.11)
    ),
    "help": (
        "help_rct.csv", "id link linkstatus dayslink daysanysub anysub anysubstatus satreat e2b",
        {"treatment": "treat", "outcome": "linked"}, (0.415, 0.335, 0.496),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRIALS)
def test_real_trials_give_their_effect(shared_data: Path, name: str) -> None:
    file, ignore, columns, right = TRIALS[name]
    found = trial(shared_data, file, ignore, **columns)
    scale = max(abs(bound) for bound in right)
    assert found.average.effect == pytest.approx(right, abs=0.01 * scale)
    assert found.randomisation.balances
    assert found.average.adjusted is not None
    assert found.average.adjusted[1] < right[0] < found.average.adjusted[2]


def test_families_that_no_column_names_are_a_mismatch_that_can_be_let_through(shared_data: Path) -> None:
    """In the RAND experiment families were drawn, and the file does not name them."""
    others = "plan zper meddol outpdol inpdol mdvis totadm binexp year"
    columns = Columns("coins", "any_use", "0", "95", stratum="site", ignore=tuple(others.split()))
    path = shared_data / "rct" / "rand_hie_year1.csv"
    with pytest.raises(GateError, match=r"gate balance failed: black.*such as families"):
        from_file(path, columns, CONFIG)
    found = from_file(path, columns, load_config(None, {"experiment.allow_mismatch": "true"}, {}))
    rows = pd.read_csv(path).query("coins in (0, 95)")
    cells = rows.groupby(["site", "coins"])["any_use"].mean().unstack().dropna()
    sizes = rows.groupby("site").size()[cells.index]
    assert found.average.effect[0] == pytest.approx(((cells[0] - cells[95]) * sizes).sum() / sizes.sum())
    assert found.average.effect[1] > 0.1
    assert "black, mean among treated" in found.randomisation.warnings[-1]


def test_what_is_no_experiment_is_refused(shared_data: Path) -> None:
    with pytest.raises(GateError, match="gate balance failed: race"):
        trial(shared_data, "lalonde_observational.csv", "re78", treatment="treat", outcome="employed78")


def test_rows_without_an_outcome_are_left_out_and_told(shared_data: Path) -> None:
    ignored = "id link linked dayslink daysanysub anysub anysubstatus satreat e2b"
    found = trial(shared_data, "help_rct.csv", ignored, treatment="treat", outcome="linkstatus")
    assert found.average.effect[0] == pytest.approx(0.409, abs=0.001)
    assert found.notes[0].startswith("22 rows have no linkstatus and were left out (3 treated, 19 control); the arms")


def test_too_few_units_are_counted_as_they_are() -> None:
    with pytest.raises(FunneliftError, match="1 rows in the control arm"):
        effect_of(Design(np.array([0, 1, 1], np.int8), np.array([0.0, 1.0, 0.0]), np.arange(3, dtype=np.int32)))
