"""Whom to treat, in words: a small tree of groups whose effects differ, evaluated on rows that it did not see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import norm

from ml.arrays import Floats, Rows
from ml.config import PolicySettings
from ml.data.features import Feature, Mart
from ml.experiment.arms import Arms
from ml.policy.tree import Binned, Path, Sample, Tree, grow, leaves_of
from ml.uplift.effect_model import effect_features
from ml.uplift.evidence import Evidence

if TYPE_CHECKING:
    import pandas as pd

DEPTH = 3
SMALLEST_SHARE, FEWEST_ROWS = 0.02, 50
PER_ROWS = 1000
# Standard errors from which two groups are told apart: more than two, because the split is the best of many.
SHOWN = 3.0


@dataclass(frozen=True)
class UpliftGroup:
    """One leaf of the tree.

    `rule` says in words which rows are in it. Its `n_rows` of all test rows, the arms among them, and the effect with
    its interval are of the test split, null where it lacks an arm there. The `learnt_` columns are of the training and
    calibration rows, which the tree was grown on: rows, effect, conversions per treated row, and revenue that treating
    a row adds. `treat` follows from them and the costs.
    """

    group_number: int
    rule: str
    n_rows: int
    n_treatment: int
    n_control: int
    row_share: float
    effect: float | None
    ci_lower: float | None
    ci_upper: float | None
    learnt_rows: int
    learnt_effect: float
    learnt_redemptions: float
    learnt_revenue: float
    treat: bool


@dataclass(frozen=True)
class GroupsValue:
    """What treating the groups that pay earns per 1,000 test rows, and how much more than the ranking does.

    `share` of the rows are treated; the ranking treats as many. Every figure has its interval beside it.
    """

    share: float
    profit: float
    profit_ci_lower: float
    profit_ci_upper: float
    versus_ranking: float
    versus_ranking_ci_lower: float
    versus_ranking_ci_upper: float


@dataclass(frozen=True)
class Groups:
    """The groups, those to treat first, and the value of treating these; null where the costs are others since."""

    entries: list[UpliftGroup]
    value: GroupsValue | None


@dataclass(frozen=True)
class HeldOut:
    """Rows that evaluate the groups: features, arms, both predicted probabilities, rank, revenue of a conversion."""

    inputs: "pd.DataFrame"
    arms: Arms
    p_control: Floats
    p_treatment: Floats
    percentile: Floats
    value: Floats


@dataclass(frozen=True)
class Money:
    """Doubly robust scores of some rows: effect, conversions when treated, revenue added; each of shape (n_rows,)."""

    effect: Floats
    redemptions: Floats
    revenue: Floats

    @classmethod
    def of(cls, p_control: Floats, p_treatment: Floats, arms: Arms, value: Floats, share: Any) -> "Money":
        """Score rows, given the chance of treatment (Robins, Rotnitzky & Zhao 1994)."""
        treated = p_treatment + np.where(arms.treatment == 1, (arms.outcome - p_treatment) / share, 0.0)
        control = p_control + np.where(arms.treatment == 0, (arms.outcome - p_control) / (1 - share), 0.0)
        return cls(treated - control, treated, value * (treated - control))

    def profit(self, policy: PolicySettings) -> Floats:
        """Return what treating each row earns."""
        charged = self.redemptions if policy.cost_per == "redemption" else 1.0
        return np.asarray(policy.margin * self.revenue - policy.cost * charged)


def find_groups(
    evidence: Evidence, value: Floats, mart: Mart, evaluated: HeldOut, policy: PolicySettings, *, confidence: float
) -> Groups:
    """Grow the tree on the rows that were learnt from, and evaluate its groups on the test rows.

    The tree explains what treating a row earns, by doubly robust scores net of cost, each row weighted by how good a
    witness it is. It is as deep as pays on other visitors: the depth, up to 3, of the least cross-fitted error. A group
    holds 2 % of the rows at least. Two groups that the last question on their way tells apart are one, where treating
    pays in both or in neither and their profits differ by less than three standard errors.

    Parameters
    ----------
    evidence : Evidence
        Training and calibration rows, with predictions by models that did not see them.
    value : ndarray of shape (n_rows,)
        Revenue of a conversion of each of these rows.
    mart : Mart
        What features are called.
    evaluated : HeldOut
        The test rows.
    policy : PolicySettings
        Costs.
    confidence : float
        Confidence of the intervals, 0 to 1.

    Returns
    -------
    Groups
        At least one.

    References
    ----------
    Athey & Wager (2021), Policy learning with observational data, Econometrica 89(1); Athey & Imbens (2016), Recursive
    partitioning for heterogeneous causal effects, PNAS 113(27), for honest leaves.
    """
    arms = evidence.arms
    learnt = Money.of(evidence.p_control, evidence.p_treatment, arms, value, evidence.treated_share)
    names = set(effect_features(evidence.inputs))
    features = [feature for feature in mart.features if feature.name in names and _varies(evidence.inputs, feature)]
    tree, leaf = _grown(evidence, learnt.profit(policy), features)
    test = Money.of(
        evaluated.p_control, evaluated.p_treatment, evaluated.arms, evaluated.value, evaluated.arms.treated_share
    )
    found = tree.leaf_of(evaluated.inputs)
    entries = [
        _group(number, tree, learnt, leaf, evaluated=(evaluated.arms, test.effect, found), confidence=confidence)
        for number in range(len(tree.leaves))
    ]
    entries = with_treat(entries, policy)
    treated = np.array([entry.treat for entry in entries])[found]
    order = sorted(range(len(entries)), key=lambda at: (not entries[at].treat, -entries[at].learnt_effect))
    return Groups(
        [replace(entries[at], group_number=number) for number, at in enumerate(order, 1)],
        _value(treated, evaluated, test.profit(policy), confidence),
    )


def with_treat(entries: Sequence[UpliftGroup], policy: PolicySettings) -> list[UpliftGroup]:
    """Say of each group whether treating it pays, by the rows that the tree was grown on and today's costs.

    Parameters
    ----------
    entries : sequence of UpliftGroup
        The groups.
    policy : PolicySettings
        Costs.

    Returns
    -------
    list of UpliftGroup
        The same groups. A revenue that is one for all follows the settings too.
    """
    found = []
    for entry in entries:
        if policy.value_column is None:
            entry = replace(entry, learnt_revenue=entry.learnt_effect * policy.revenue_per_conversion)
        charged = entry.learnt_redemptions if policy.cost_per == "redemption" else 1.0
        found.append(replace(entry, treat=policy.margin * entry.learnt_revenue - policy.cost * charged > 0))
    return found


def _varies(inputs: "pd.DataFrame", feature: Feature) -> bool:
    return bool(inputs[feature.name].nunique(dropna=False) > 1)


def _grown(evidence: Evidence, profit: Floats, features: Sequence[Feature]) -> tuple[Tree, Rows]:
    """Grow the tree; return it with the leaf of each row of the evidence."""
    binned = [Binned.of(feature, evidence.inputs[feature.name]) for feature in features]
    rows = len(evidence)
    if not binned:
        return Tree((), ((),)), np.zeros(rows, dtype=np.intp)
    sample = Sample(
        codes=np.stack([each.codes(evidence.inputs[each.feature.name]) for each in binned]),
        target=profit,
        weight=evidence.weights,
        is_category=tuple(each.feature.kind == "categorical" for each in binned),
        fewest=max(FEWEST_ROWS, int(np.ceil(SMALLEST_SHARE * rows))),
    )
    errors = np.zeros(DEPTH + 1)
    for fold in np.unique(evidence.fold):
        held_out = evidence.fold == fold
        rest, own = sample.take(~held_out), sample.take(held_out)
        for depth, paths in enumerate(grow(rest, DEPTH)):
            means = _means(leaves_of(paths, rest), rest, len(paths))
            predicted = means[leaves_of(paths, own)]
            errors[depth] += float(np.sum(own.weight * (own.target - predicted) ** 2))
    paths = _told_apart(grow(sample, int(np.argmin(errors)))[-1], sample, evidence.arms)
    return Tree(tuple(binned), tuple(paths)), leaves_of(paths, sample)


def _told_apart(paths: list[Path], sample: Sample, arms: Arms) -> list[Path]:
    """Join two groups that one question tells apart, where both pay or both do not and they do not differ shown."""
    for number, (one, other) in enumerate(pairwise(paths)):
        if not one or one[:-1] != other[:-1] or one[-1].split != other[-1].split:
            continue
        leaf = leaves_of(paths, sample)
        (own, se), (its, its_se) = (_mean_and_error(sample.target, arms, leaf == at) for at in (number, number + 1))
        if (own > 0) == (its > 0) and abs(own - its) < SHOWN * np.hypot(se, its_se):
            return _told_apart([*paths[:number], one[:-1], *paths[number + 2 :]], sample, arms)
    return paths


def _mean_and_error(values: Floats, arms: Arms, rows: Any) -> tuple[float, float]:
    """Mean of some rows and its standard error, by visitor."""
    mean = float(values[rows].mean())
    sums = np.bincount(arms.visitor_codes[rows], values[rows] - mean, minlength=arms.n_visitors)
    return mean, float(np.sqrt(np.sum(sums**2))) / int(np.sum(rows))


def _means(leaf: Rows, sample: Sample, leaves: int) -> Floats:
    weight = np.bincount(leaf, sample.weight, leaves)
    return np.asarray(np.bincount(leaf, sample.weight * sample.target, leaves) / np.where(weight > 0, weight, 1.0))


def _group(
    number: int, tree: Tree, learnt: Money, leaf: Rows, *, evaluated: tuple[Arms, Floats, Rows], confidence: float
) -> UpliftGroup:
    arms, effects, found = evaluated
    own, rows = leaf == number, np.flatnonzero(found == number)
    within = arms.take(rows)
    n_rows, n_treatment, n_control = within.counts
    effect = lower = upper = None
    if n_treatment and n_control and within.n_visitors > 1:
        effect, lower, upper = _mean(effects[rows], within, confidence)
    return UpliftGroup(
        group_number=number,
        rule=tree.words(number) or "all",
        n_rows=n_rows,
        n_treatment=n_treatment,
        n_control=n_control,
        row_share=n_rows / max(1, len(arms)),
        effect=effect,
        ci_lower=lower,
        ci_upper=upper,
        learnt_rows=int(own.sum()),
        learnt_effect=float(learnt.effect[own].mean()),
        learnt_redemptions=float(learnt.redemptions[own].mean()),
        learnt_revenue=float(learnt.revenue[own].mean()),
        treat=False,
    )


def _mean(values: Floats, arms: Arms, confidence: float) -> tuple[float, float, float]:
    """Mean of some rows with its normal interval, by visitor."""
    mean, visitors = float(values.mean()), arms.n_visitors
    sums = np.bincount(arms.visitor_codes, values - mean, minlength=visitors)
    half = norm.isf((1 - confidence) / 2) * np.sqrt(np.sum(sums**2) * visitors / (visitors - 1)) / len(values)
    return mean, float(mean - half), float(mean + half)


def _value(treated: Any, evaluated: HeldOut, profit: Floats, confidence: float) -> GroupsValue | None:
    """Value treating some test rows, and how much more than as many of the highest ranked."""
    if not treated.any() or evaluated.arms.n_visitors < 2:
        return None
    ranked = np.zeros(len(treated), dtype=bool)
    ranked[np.argsort(-evaluated.percentile, kind="stable")[: int(treated.sum())]] = True
    own = _mean(PER_ROWS * np.where(treated, profit, 0.0), evaluated.arms, confidence)
    versus = _mean(PER_ROWS * profit * (treated.astype(float) - ranked), evaluated.arms, confidence)
    return GroupsValue(float(treated.mean()), *own, *versus)
