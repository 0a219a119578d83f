"""The policy tree: it finds whom an offer changes, says so in words, and is evaluated on rows that it did not see."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from ml.config import PolicySettings, load_config
from ml.data.features import NONE, Feature, Mart
from ml.experiment.arms import Arms
from ml.policy.groups import Groups, HeldOut, find_groups, with_treat
from ml.policy.tree import Binned, Sample, Side, Split, condition, grow, leaves_of
from ml.uplift.evidence import Evidence

CART = Feature("has_cart", "x", "numeric", "cart", "a cart", is_flag=True, short="cart so far")
EARLIER = Feature("prior_carts", "x", "numeric", "earlier", short="earlier carts")
KIND = Feature("kind", "x", "categorical", "kind")
OTHERS = tuple(Feature(f"other_{number}", "x", "numeric", "other") for number in range(6))
MART = Mart((CART, EARLIER, *OTHERS, KIND), "bought", ())


def policy(**changes: Any) -> PolicySettings:
    return load_config(None, {}, {}).policy.model_copy(update=changes)


def shop(rows: int, seed: int, adds: float = 0.2) -> tuple[pd.DataFrame, Arms]:
    """A shop where the offer adds to carts of shoppers who never had one, to nobody else."""
    rng = np.random.default_rng(seed)
    inputs = pd.DataFrame({feature.name: rng.normal(size=rows).astype(np.float32) for feature in OTHERS})
    inputs["has_cart"] = (rng.random(rows) < 0.2).astype(np.float32)
    inputs["prior_carts"] = rng.poisson(0.7, rows).astype(np.float32)
    inputs["kind"] = pd.Categorical(rng.choice(["a", "b", NONE], rows))
    inputs.loc[rng.random(rows) < 0.3, "other_0"] = np.nan
    treatment = rng.integers(0, 2, rows).astype(np.int8)
    chance = 0.03 + 0.05 * inputs["has_cart"].to_numpy() + adds * treatment * persuadable(inputs)
    return inputs, Arms(treatment, (rng.random(rows) < chance).astype(np.int8), np.arange(rows, dtype=np.int32))


def persuadable(inputs: pd.DataFrame) -> Any:
    return ((inputs["has_cart"] == 1) & (inputs["prior_carts"] == 0)).to_numpy()


def evidence_of(inputs: pd.DataFrame, arms: Arms) -> Evidence:
    rows, rate = len(arms), np.full(len(arms), float(arms.outcome.mean()))
    return Evidence(
        inputs=inputs, rows=np.arange(rows), chosen=np.ones(rows, dtype=bool), fold=(arms.visitor % 3).astype(np.int8),
        arms=arms, p_control=rate, p_treatment=rate, response=rate, propensity=None,
    )  # fmt: skip


def found_in(learnt: tuple[pd.DataFrame, Arms], test: tuple[pd.DataFrame, Arms], settings: PolicySettings) -> Groups:
    evidence = evidence_of(*learnt)
    inputs, arms = test
    rate = np.full(len(arms), float(arms.outcome.mean()))
    value = np.full(len(arms), settings.revenue_per_conversion)
    ranks = (persuadable(inputs) + np.linspace(0, 0.5, len(arms))) / 2
    evaluated = HeldOut(inputs, arms, rate, rate, ranks, value)
    usual = np.full(len(evidence), settings.revenue_per_conversion)
    return find_groups(evidence, usual, MART, evaluated, settings, confidence=0.95)


def test_the_tree_finds_the_shoppers_who_can_be_persuaded() -> None:
    test = shop(12_000, 2)
    groups = found_in(shop(20_000, 1), test, policy())
    best = groups.entries[0]
    assert best.treat
    assert set(best.rule.split(", ")) == {"cart so far: yes", "earlier carts: 0"}
    assert best.n_rows == persuadable(test[0]).sum()
    assert best.ci_lower is not None
    assert best.ci_upper is not None
    assert best.ci_lower < 0.2 < best.ci_upper
    assert best.ci_lower > 0.1
    assert not any(entry.treat for entry in groups.entries[1:])
    # What no difference is shown of is one group.
    assert {entry.rule for entry in groups.entries[1:]} == {
        "cart so far: no",
        "cart so far: yes, earlier carts: 1 or more",
    }
    assert sum(entry.n_rows for entry in groups.entries) == 12_000
    assert sum(entry.learnt_rows for entry in groups.entries) == 20_000
    assert [entry.group_number for entry in groups.entries] == list(range(1, len(groups.entries) + 1))
    value = groups.value
    assert value is not None
    assert value.share == pytest.approx(best.row_share)
    # The ranking puts the same rows first.
    assert value.versus_ranking == pytest.approx(0, abs=1e-9)
    true_profit = 1000 * best.row_share * (50 * 0.2 - 5 * (0.08 + 0.2))
    assert value.profit_ci_lower < true_profit < value.profit_ci_upper


def test_the_order_of_rows_and_the_draw_have_no_part() -> None:
    inputs, arms = shop(20_000, 1)
    order = np.random.default_rng(0).permutation(len(arms))
    first, second = (
        found_in(learnt, shop(12_000, 2), policy())
        for learnt in ((inputs, arms), (inputs.iloc[order].reset_index(drop=True), arms.take(order)))
    )
    assert [(entry.rule, entry.n_rows, entry.effect) for entry in first.entries] == [
        (entry.rule, entry.n_rows, entry.effect) for entry in second.entries
    ]


def test_where_no_group_differs_the_intervals_hold_and_nobody_is_found() -> None:
    covered, entries, treated = 0, 0, 0
    for seed in range(40):
        groups = found_in(shop(3000, 2 * seed, adds=0), shop(3000, 2 * seed + 1, adds=0), policy())
        for entry in groups.entries:
            assert entry.ci_lower is not None
            assert entry.ci_upper is not None
            entries, covered = entries + 1, covered + (entry.ci_lower <= 0 <= entry.ci_upper)
        treated += groups.value is not None and groups.value.profit_ci_lower > 0
    assert covered / entries >= 0.9
    assert treated <= 3


def test_costs_say_whom_to_treat() -> None:
    groups = found_in(shop(20_000, 1), shop(12_000, 2), policy()).entries
    assert with_treat(groups, policy()) == groups
    assert not any(entry.treat for entry in with_treat(groups, policy(cost=100.0)))
    assert all(entry.treat == (entry.learnt_effect > 0) for entry in with_treat(groups, policy(cost=0.0)))
    contact = with_treat(groups, policy(cost=5.0, cost_per="contact"))
    assert [entry.treat for entry in contact] == [50 * entry.learnt_effect > 5 for entry in groups]
    own_value = [replace(entry, learnt_revenue=1000.0) for entry in groups]
    assert all(entry.treat for entry in with_treat(own_value, policy(value_column="carted")))


def test_without_an_arm_in_a_group_its_effect_is_not_known() -> None:
    inputs, arms = shop(12_000, 2)
    some = np.flatnonzero(~persuadable(inputs) | (arms.treatment == 1))
    groups = found_in(shop(20_000, 1), (inputs.iloc[some].reset_index(drop=True), arms.take(some)), policy())
    best = groups.entries[0]
    assert (best.effect, best.ci_lower, best.ci_upper, best.n_control) == (None, None, None, 0)


def test_features_that_never_vary_leave_one_group() -> None:
    inputs, arms = shop(3000, 1)
    same = inputs.assign(**{feature.name: np.float32(1) for feature in (CART, EARLIER, *OTHERS)})
    same["kind"] = pd.Categorical(["a"] * len(same), categories=["a", "b"])
    groups = found_in((same, arms), (same, arms), policy())
    assert [(entry.rule, entry.n_rows) for entry in groups.entries] == [("all", 3000)]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_it_is_the_tree_of_scikit_learn(depth: int) -> None:
    rng = np.random.default_rng(depth)
    x = rng.integers(0, 12, (4000, 5)).astype(np.float32)
    target, weight = x[:, 1] * (x[:, 3] > 5) + rng.normal(size=4000), rng.random(4000) + 0.5
    features = [Feature(f"f{number}", "x", "numeric", "f") for number in range(5)]
    columns = [pd.Series(column) for column in x.T]
    binned = [Binned.of(feature, column) for feature, column in zip(features, columns, strict=True)]
    codes = np.stack([each.codes(column) for each, column in zip(binned, columns, strict=True)])
    sample = Sample(codes, target, weight, (False,) * 5, 100)
    leaf = leaves_of(grow(sample, depth)[-1], sample)
    means = np.bincount(leaf, weight * target) / np.bincount(leaf, weight)
    theirs = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=100, random_state=0).fit(x, target, weight)
    assert means[leaf] == pytest.approx(theirs.predict(x))


def test_missing_numbers_can_go_either_way() -> None:
    values = np.array([1, 1, 5, 5, np.nan, np.nan] * 50)
    column, feature = pd.Series(values), Feature("age", "x", "numeric", "age")
    binned = Binned.of(feature, column)
    for target, words in (
        (np.where(values == 5, 0.0, 1.0), {"age: at most 1 or not known", "age: 2 or more"}),
        (np.where(values == 1, 0.0, 1.0), {"age: at most 1", "age: 2 or more or not known"}),
        (np.isnan(values).astype(float), {"age: known", "age: not known"}),
    ):
        sample = Sample(binned.codes(column)[np.newaxis], target, np.ones(300), (False,), 50)
        paths = grow(sample, 1)[-1]
        assert {condition(binned, path) for path in paths} == words
        leaf = leaves_of(paths, sample)
        assert all(len(np.unique(target[leaf == number])) == 1 for number in (0, 1))


def side(bin_: int, *, is_left: bool, with_missing: bool = False) -> Side:
    return Side(Split(0, bin_, with_missing), is_left)


@pytest.mark.parametrize(
    ("binned", "sides", "words"),
    [
        (Binned(CART, np.array([0.0]), (), is_count=True), [side(0, is_left=True)], "cart so far: no"),
        (Binned(CART, np.array([0.0]), (), is_count=True), [side(0, is_left=False)], "cart so far: yes"),
        (Binned(EARLIER, np.array([0.0, 1, 2, 3]), (), is_count=True), [side(0, is_left=True)], "earlier carts: 0"),
        (
            Binned(EARLIER, np.array([0.0, 1, 2, 3]), (), is_count=True),
            [side(0, is_left=False), side(2, is_left=True)],
            "earlier carts: 1 to 2",
        ),
        (
            Binned(EARLIER, np.array([0.0, 1, 2, 3]), (), is_count=True),
            [side(3, is_left=True), side(2, is_left=False)],
            "earlier carts: 3",
        ),
        (Binned(OTHERS[0], np.array([-1.5, 0.25]), ()), [side(1, is_left=False)], "other_0: above 0.25"),
        (Binned(OTHERS[0], np.array([21_300.0]), ()), [side(0, is_left=False)], "other_0: above 21,300"),
        (
            Binned(OTHERS[0], np.array([-1.5, 0.25]), (), may_lack=True),
            [side(1, is_left=True, with_missing=True), side(0, is_left=False)],
            "other_0: above -1.5 and at most 0.25 or not known",
        ),
        (Binned(KIND, np.empty(0), ("a", "b", NONE)), [side(1, is_left=True)], "kind: b"),
        (Binned(KIND, np.empty(0), ("a", "b", NONE)), [side(1, is_left=False), side(2, is_left=False)],
         "kind: not b nor not known"),
        (Binned(KIND, np.empty(0), ("a", "b", NONE)), [side(1, is_left=False), side(0, is_left=True)], "kind: a"),
    ],
)  # fmt: skip
def test_words(binned: Binned, sides: list[Side], words: str) -> None:
    assert condition(binned, sides) == words
