"""How good are the probabilities: discrimination, calibration, slices, and intervals that resample visitors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels, Rows, Weights
from ml.bootstrap import Bootstrap, visitor_codes
from ml.conversion.calibration import Fit, row_log_loss
from ml.conversion.curve import CalibrationBin, calibration_curve, equal_count_edges
from ml.data.rows import Dataset
from ml.data.split import Splits

METRICS = ("auc_roc", "average_precision", "log_loss", "brier_score", "expected_calibration_error")


@dataclass(frozen=True)
class Metric:
    """One metric of one model on one slice of the test rows, with its bootstrap interval."""

    model: str
    slice: str
    metric: str
    value: float | None
    ci_lower: float | None
    ci_upper: float | None
    n_rows: int
    n_positives: int
    n_visitors: int


class RankedScores:
    """Predictions of one slice in rank order, so that a resample costs one pass and no sort.

    Parameters
    ----------
    probability : ndarray of shape (n_rows,)
        Predicted probabilities.
    label : ndarray of shape (n_rows,)
        1 where the row converted.
    visitor : ndarray of shape (n_rows,)
        Visitor code of each row, an index into the bootstrap's weights.
    visitors : int
        Number of visitor codes.
    bins : int
        Number of equal-count bins of the expected calibration error.
    """

    def __init__(self, probability: Floats, label: Labels, visitor: Rows, visitors: int, bins: int) -> None:
        order = np.argsort(probability, kind="stable")
        probability, label, self.visitor = probability[order], label[order], visitor[order]
        # Rows of equal probability rank together; only groups that hold a positive matter to AUC and AP, so a
        # resample needs no more than the weight between those groups' bounds.
        positives = np.flatnonzero(label == 1)
        starts = np.unique(np.searchsorted(probability, probability[positives], side="left"))
        ends = np.searchsorted(probability, probability[starts], side="right")
        bounds = np.unique(np.concatenate([[0], starts, ends]))
        self.segments = bounds[bounds < len(label)]
        self.group_start, self.group_end = np.searchsorted(bounds, starts), np.searchsorted(bounds, ends)
        self.positive_visitor = self.visitor[positives]
        self.positive_group = np.searchsorted(starts, positives, side="right") - 1
        # All else is linear in the weights: one column of sums by visitor for each total that a metric needs.
        edges = equal_count_edges(probability, bins)
        bin_of_row = np.repeat(np.arange(len(edges)), np.diff([*edges, len(label)]))
        error = probability - label
        columns = [row_log_loss(probability, label), error**2, np.ones(len(label))]
        columns += [np.where(bin_of_row == number, error, 0) for number in range(len(edges))]
        self.sums = np.stack([np.bincount(self.visitor, column, visitors) for column in columns], axis=1)

    def metrics(self, weights: Weights) -> Floats:
        """Return the values of `METRICS` under weights of the visitors.

        Parameters
        ----------
        weights : ndarray of shape (n_resamples, n_visitors)
            Weight of each visitor, 0 to 255.

        Returns
        -------
        ndarray of shape (n_resamples, n_metrics)
            NaN where a metric needs both classes and one is missing.
        """
        totals = weights.astype(np.float64) @ self.sums
        with np.errstate(invalid="ignore"):
            means = totals / totals[:, 2:3]
        ranking = np.array([self._ranking(own) for own in weights])
        return np.column_stack([ranking, means[:, :2], np.abs(means[:, 3:]).sum(axis=1)])

    def _ranking(self, weights: Weights) -> tuple[float, float]:
        positive = np.bincount(
            self.positive_group, weights[self.positive_visitor].astype(np.float64), len(self.group_start)
        )
        segments = np.add.reduceat(weights.take(self.visitor), self.segments, dtype=np.int64)
        up_to = np.concatenate([[0], np.cumsum(segments)]).astype(np.float64)
        all_positive, total = positive.sum(), up_to[-1]
        if not 0 < all_positive < total:
            return np.nan, np.nan
        before, after = up_to[self.group_start], up_to[self.group_end]
        positive_before = np.cumsum(positive) - positive
        negative_before, negative = before - positive_before, after - before - positive
        auc = (positive * (negative_before + negative / 2)).sum() / (all_positive * (total - all_positive))
        # From the top down: at each group, the share of positives among all rows ranked as high or higher.
        precision = (all_positive - positive_before) / np.maximum(total - before, 1)
        return float(auc), float((positive * precision).sum() / all_positive)


@dataclass(frozen=True)
class Evaluation:
    """How good every model is on the test rows.

    Parameters
    ----------
    rows : ndarray of shape (n_test_rows,)
        Positions of the test rows in the data set.
    label : ndarray of shape (n_test_rows,)
        1 where the test row converted.
    probabilities : dict of str to ndarray of shape (n_test_rows,)
        Model name to its calibrated probabilities.
    metrics : list of Metric
        Metrics of every model on every slice.
    curves : list of CalibrationBin
        Calibration curves of every model, overall and at each decision point.
    """

    rows: Rows
    label: Labels
    probabilities: dict[str, Floats]
    metrics: list[Metric]
    curves: list[CalibrationBin]

    def overall(self, model: str) -> dict[str, Metric]:
        """Return a model's metrics on all test rows by name."""
        return {entry.metric: entry for entry in self.metrics if (entry.model, entry.slice) == (model, "overall")}


def evaluate(fits: dict[str, Fit], data: Dataset, splits: Splits, *, bins: int, bootstrap: Bootstrap) -> Evaluation:
    """Evaluate every model on the test split.

    Parameters
    ----------
    fits : dict of str to Fit
        Models by name.
    data : Dataset
        All rows.
    splits : Splits
        Their splits.
    bins : int
        Bins of the calibration curves and of the expected calibration error.
    bootstrap : Bootstrap
        Resamples of the visitors.

    Returns
    -------
    Evaluation
        Metrics with intervals, calibration curves, and the probabilities they come from.
    """
    rows = splits.rows("test")
    inputs, label = data.inputs.iloc[rows], data.label[rows]
    probabilities = {name: fit.probability(inputs) for name, fit in fits.items()}
    slices = slices_of(data, rows, splits.rows("train"))
    curves = [
        entry
        for model, probability in probabilities.items()
        for name, own in slices.items()
        if name == "overall" or name.startswith("decision_point=")
        for entry in calibration_curve(model, name, probability[own], label[own], bins)
    ]
    metrics = slice_metrics(probabilities, label, data.visitor[rows], slices, bins=bins, bootstrap=bootstrap)
    return Evaluation(rows, label, probabilities, metrics, curves)


def slices_of(data: Dataset, rows: Rows, train_rows: Rows) -> dict[str, Rows]:
    """Return the slices on which every model is evaluated.

    Parameters
    ----------
    data : Dataset
        All rows.
    rows : ndarray of shape (n_test_rows,)
        Positions of the test rows.
    train_rows : ndarray of int
        Positions of the training split's rows.

    Returns
    -------
    dict
        Slice name to positions within `rows`; empty slices are left out.
    """
    seen = np.zeros(int(data.visitor.max()) + 1, dtype=bool)
    seen[data.visitor[train_rows]] = True
    points = data.decision_point
    new = data.is_new_visitor[rows] == 1
    slices = {"overall": np.arange(len(rows))}
    for code, point in enumerate(points.categories):
        slices[f"decision_point={point}"] = np.flatnonzero(points.codes[rows] == code)
    slices["visitor=new"] = np.flatnonzero(new)
    slices["visitor=returning"] = np.flatnonzero(~new)
    slices["visitor=unseen_in_training"] = np.flatnonzero(~seen[data.visitor[rows]])
    return {name: positions for name, positions in slices.items() if len(positions)}


def slice_metrics(
    probabilities: dict[str, Floats],
    label: Labels,
    visitor: npt.NDArray[np.int32],
    slices: dict[str, Rows],
    *,
    bins: int,
    bootstrap: Bootstrap,
) -> list[Metric]:
    """Return every metric of every model on every slice of the test rows.

    Parameters
    ----------
    probabilities : dict of str to ndarray of shape (n_rows,)
        Model name to its calibrated probabilities of the test rows.
    label : ndarray of shape (n_rows,)
        1 where the test row converted.
    visitor : ndarray of shape (n_rows,)
        Number of each test row's visitor.
    slices : dict of str to ndarray of int
        Slice name to positions within the test rows.
    bins : int
        Bins of the expected calibration error.
    bootstrap : Bootstrap
        Resamples of the visitors.

    Returns
    -------
    list of Metric
        Every metric with a percentile interval; None where a slice lacks one of the classes.
    """
    codes, n_visitors = visitor_codes(visitor)
    resamples = bootstrap.weights(n_visitors)
    found = []
    for name, rows in slices.items():
        present, own = np.unique(codes[rows], return_inverse=True)
        weights = resamples[:, present]
        counts = (len(rows), int(label[rows].sum()), len(present))
        for model, probability in probabilities.items():
            ranked = RankedScores(probability[rows], label[rows], own, len(present), bins)
            values = ranked.metrics(np.ones((1, len(present)), np.uint8))[0]
            resampled = bootstrap.run(ranked.metrics, weights)
            for metric, value, column in zip(METRICS, values, resampled.T, strict=True):
                lower, upper = bootstrap.interval(column)
                found.append(Metric(model, name, metric, _or_none(value), _or_none(lower), _or_none(upper), *counts))
    return found


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
