"""No single feature may give the answer away."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.arrays import Rows
from ml.config import Config, Leakage
from ml.data.draw import visitor_numbers
from ml.data.features import Feature, Mart
from ml.data.gates import GateError
from ml.data.rows import Dataset
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PurePart:
    """A tail, a value or the nulls of one feature where (nearly) every row converts."""

    where: str
    rows: int
    positives: int


@dataclass(frozen=True)
class FeatureAuc:
    """How well one feature alone tells converting rows from the rest at one decision point."""

    feature: str
    decision_point: str
    auc: float
    rows: int
    positives: int
    pure: PurePart | None = None


def check_leakage(data: Dataset, mart: Mart, config: Config) -> list[FeatureAuc]:
    """Refuse a feature that alone tells converting rows from the rest too well to be honest.

    Parameters
    ----------
    data : Dataset
        All rows of the feature mart; only rows of closed sessions are evaluated.
    mart : Mart
        Roles of the columns.
    config : Config
        Highest believable AUC and purity, and features accepted with a reason.

    Returns
    -------
    list of FeatureAuc
        One entry per feature and decision point with enough converting rows, best first.

    Raises
    ------
    GateError
        When a feature that is not accepted is above the highest AUC, or has a part of the highest purity.
    FunneliftError
        When an accepted feature does not exist.
    """
    check_accepted(mart, config.leakage)
    points, visitor = data.decision_point, visitor_numbers(data.identity.column("visitor_id"))
    found = []
    for code, point in enumerate(points.categories):
        rows = np.flatnonzero((points.codes == code) & (data.is_mature == 1))
        for entry in evaluate_features(
            data.inputs, mart.features, data.label, visitor,
            rows=rows, group=str(point), settings=config.leakage,
        ):  # fmt: skip
            found.append(entry)
            data.let_go()
    found.sort(key=lambda entry: (-entry.auc, entry.feature, entry.decision_point))
    refuse_leaks(found, config.leakage)
    return found


def check_accepted(mart: Mart, settings: Leakage) -> None:
    """Refuse settings that accept a feature which does not exist.

    Parameters
    ----------
    mart : Mart
        Roles of the columns.
    settings : Leakage
        Features accepted with a reason.

    Raises
    ------
    FunneliftError
        When there is one.
    """
    unknown = sorted(set(settings.accepted) - set(mart.names))
    if unknown:
        raise FunneliftError(f"settings: leakage.accepted names {', '.join(unknown)}, which the mart does not have")


def evaluate_features(
    inputs: "pd.DataFrame",
    features: Sequence[Feature],
    label: npt.NDArray[np.int8],
    visitor: npt.NDArray[Any],
    *,
    rows: Rows,
    group: str,
    settings: Leakage,
) -> Iterator[FeatureAuc]:
    """Measure how much each feature alone says about the label among some rows of any features table.

    Parameters
    ----------
    inputs : DataFrame
        Features: float32 (NaN is null) and categories.
    features : sequence of Feature
        Names and kinds of the features to evaluate.
    label, visitor : ndarray of shape (n_rows,)
        Label (0 or 1) and visitor number of every row of `inputs`.
    rows : ndarray of int
        Positions of the rows to evaluate.
    group : str
        What these rows are, for people: a decision point or a file.
    settings : Leakage
        Fewest converting rows that can be evaluated, and the highest purity.

    Yields
    ------
    FeatureAuc
        One entry per feature; none when there are too few converting rows.
    """
    positive, negative = rows[label[rows] == 1], rows[label[rows] == 0]
    if len(positive) < settings.min_positives or not len(negative):
        return
    for feature in features:
        column, buyers = inputs[feature.name], visitor[positive]
        if feature.kind == "numeric":
            values = column.to_numpy()
            ranks = _rank(values[positive], values[negative])
            auc, pure = _auc(ranks), _pure_numbers(ranks, buyers, settings)
        else:
            codes = column.cat.codes.to_numpy()
            auc = category_auc(codes[positive], codes[negative], buyers, visitor[negative])
            pure = _pure_level(column.cat.categories, codes[positive], codes[negative], buyers, settings)
        yield FeatureAuc(feature.name, group, auc, len(positive) + len(negative), len(positive), pure)


def refuse_leaks(found: Sequence[FeatureAuc], settings: Leakage) -> None:
    """Raise for the first feature that is not accepted and says more than it honestly can.

    Parameters
    ----------
    found : sequence of FeatureAuc
        What `evaluate_features` measured, best first.
    settings : Leakage
        Highest believable AUC and purity, and features accepted with a reason.

    Raises
    ------
    GateError
        When there is one; an AUC comes before a pure part.
    """
    suspects = [entry for entry in found if entry.feature not in settings.accepted]
    remedy = (
        "It probably knows the future: correct the feature or leave it out, or list it under leakage.accepted with a "
        "reason"
    )
    for entry in suspects:
        if entry.auc > settings.highest_auc:
            raise GateError(
                "leakage",
                f"AUC of {entry.feature} alone at {entry.decision_point} "
                f"({entry.positives} of {entry.rows} rows convert)",
                f"at most {settings.highest_auc}",
                f"{entry.auc:.4f}",
                remedy,
            )
    for entry in suspects:
        if entry.pure is not None:
            raise GateError(
                "leakage",
                f"share converting where {entry.feature} is {entry.pure.where} at {entry.decision_point} "
                f"(of all rows {entry.positives / entry.rows:.2%} convert)",
                f"below {settings.highest_purity:.1%}",
                f"{entry.pure.positives / entry.pure.rows:.1%} ({entry.pure.positives} of {entry.pure.rows} rows)",
                remedy,
            )


def numeric_auc(positive: npt.NDArray[np.float32], negative: npt.NDArray[np.float32]) -> float:
    """AUC of one numeric feature, whichever way it points, with nulls ranked lowest or highest.

    Parameters
    ----------
    positive, negative : ndarray of shape (n_converting,), (n_other,)
        The feature's values on rows that convert and on rows that do not; NaN is null.

    Returns
    -------
    float
        The largest AUC of the two places for nulls and both directions, 0.5 to 1.
    """
    return _auc(_rank(positive, negative))


def category_auc(
    positive: npt.NDArray[Any],
    negative: npt.NDArray[Any],
    positive_visitor: npt.NDArray[Any],
    negative_visitor: npt.NDArray[Any],
) -> float:
    """AUC of one categorical feature, each row scored by the other half of the visitors.

    Parameters
    ----------
    positive, negative : ndarray of shape (n_converting,), (n_other,)
        Category codes on rows that convert and on rows that do not.
    positive_visitor, negative_visitor : ndarray of shape (n_converting,), (n_other,)
        Visitor codes of the same rows.

    Returns
    -------
    float
        Mean AUC over the two halves, at least 0.5.
    """
    levels = int(max(positive.max(), negative.max())) + 1
    aucs = []
    for half in (0, 1):
        learn_positive, learn_negative = positive_visitor % 2 == half, negative_visitor % 2 == half
        if learn_positive.all() or learn_negative.all():
            continue
        bought = np.bincount(positive[learn_positive], minlength=levels)
        left = np.bincount(negative[learn_negative], minlength=levels)
        overall = bought.sum() / max(1, bought.sum() + left.sum())
        rate = ((bought + 10 * overall) / (bought + left + 10)).astype(np.float32)
        aucs.append(numeric_auc(rate[positive[~learn_positive]], rate[negative[~learn_negative]]))
    return float(np.mean(aucs)) if aucs else 0.5


@dataclass(frozen=True)
class _Ranks:
    """Converting rows in order of a feature, and how many other rows lie below and not above each of them.

    `order` holds positions among the converting rows, those where the feature is null last; `values`, `below` and
    `not_above` cover the ones before.
    """

    order: npt.NDArray[np.intp]
    values: npt.NDArray[np.float32]
    below: npt.NDArray[np.intp]
    not_above: npt.NDArray[np.intp]
    known_negatives: int
    null_negatives: int


def _rank(positive: npt.NDArray[np.float32], negative: npt.NDArray[np.float32]) -> _Ranks:
    order = np.argsort(positive)
    values = positive[order[: len(positive) - np.isnan(positive).sum()]]
    known = np.sort(negative[~np.isnan(negative)])
    below, not_above = np.searchsorted(known, values, side="left"), np.searchsorted(known, values, side="right")
    return _Ranks(order, values, below, not_above, len(known), len(negative) - len(known))


def _auc(ranks: _Ranks) -> float:
    known_positives, null_positives = len(ranks.values), len(ranks.order) - len(ranks.values)
    pairs = float(len(ranks.order)) * (ranks.known_negatives + ranks.null_negatives)
    wins = (ranks.below.sum(dtype=np.float64) + ranks.not_above.sum(dtype=np.float64)) / 2
    wins += null_positives * ranks.null_negatives / 2
    nulls_lowest = (wins + known_positives * ranks.null_negatives) / pairs
    nulls_highest = (wins + null_positives * ranks.known_negatives) / pairs
    return float(max(nulls_lowest, 1 - nulls_lowest, nulls_highest, 1 - nulls_highest))


def _pure_numbers(ranks: _Ranks, visitor: npt.NDArray[Any], settings: Leakage) -> PurePart | None:
    values, known, count = ranks.values, len(ranks.values), len(ranks.order)
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1])[:known])
    ends = np.append(starts, known)[1:]
    edges, below, not_above = values[starts], ranks.below[starts], ranks.not_above[starts]
    # Tails lie in one another: if the widest pure one has too few visitors, so has each other.
    parts = (
        ("{:g} or more", edges, starts, np.full_like(starts, known), ranks.known_negatives - below, 1),
        ("{:g} or less", edges, np.zeros_like(starts), ends, not_above, 1),
        ("{:g}", edges, starts, ends, not_above - below, len(edges)),
        ("null", np.zeros(1), np.array([known]), np.array([count]), np.array([ranks.null_negatives]), 1),
    )
    rate = count / (count + ranks.known_negatives + ranks.null_negatives)
    for where, edge, first, last, negatives, tried in parts:
        for part in _pure(last - first, negatives, rate, settings)[:tried]:
            rows = ranks.order[first[part] : last[part]]
            if len(np.unique(visitor[rows])) >= settings.min_positives:
                return PurePart(where.format(edge[part]), len(rows) + int(negatives[part]), len(rows))
    return None


def _pure_level(
    levels: "pd.Index[Any]",
    positive: npt.NDArray[Any],
    negative: npt.NDArray[Any],
    visitor: npt.NDArray[Any],
    settings: Leakage,
) -> PurePart | None:
    positives, negatives = (np.bincount(codes, minlength=len(levels)) for codes in (positive, negative))
    rate = len(positive) / (len(positive) + len(negative))
    for level in _pure(positives, negatives, rate, settings):
        if len(np.unique(visitor[positive == level])) >= settings.min_positives:
            rows = int(positives[level] + negatives[level])
            return PurePart(str(levels[level]), rows, int(positives[level]))
    return None


def _pure(
    positives: npt.NDArray[Any], negatives: npt.NDArray[Any], rate: float, settings: Leakage
) -> npt.NDArray[np.intp]:
    """Positions of the parts that are pure beyond chance, widest first."""
    rows = positives + negatives
    # Where nearly all rows convert a part may be pure by chance, unless many of its rows were due not to convert.
    is_pure = (
        (positives >= settings.min_positives)
        & (positives >= settings.highest_purity * rows)
        & (rows * (1 - rate) >= settings.min_positives / 2)
    )
    found = np.flatnonzero(is_pure)
    return found[np.argsort(-positives[found], kind="stable")]
