"""Metrics of probabilities in rank order, so that a resample needs no sort."""

from itertools import chain

import numpy as np

from ml.arrays import Floats, Labels, Rows, Weights
from ml.conversion.calibration import row_log_loss
from ml.conversion.curve import equal_count_edges

METRICS = ("auc_roc", "average_precision", "log_loss", "brier_score", "expected_calibration_error")


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
        bounds = np.unique(np.concatenate([[0], starts, ends, [len(label)]]))
        # The last row of each segment, up to which weights are summed.
        self.last = bounds[1:] - 1
        # Half as wide is nearly twice as fast; a resample weighs a row 255 at most.
        self.counts = np.int32 if len(label) < 2**31 // 255 else np.int64
        self.group_start, self.group_end = np.searchsorted(bounds, starts), np.searchsorted(bounds, ends)
        self.positive_visitor = self.visitor[positives]
        self.positive_group = np.searchsorted(starts, positives, side="right") - 1
        # All else is linear in the weights: one column of sums by visitor for each total that a metric needs.
        edges = equal_count_edges(probability, bins)
        bin_of_row = np.repeat(np.arange(len(edges)), np.diff([*edges, len(label)]))
        error = probability - label
        plain = (row_log_loss(probability, label), error**2, np.ones(len(label)))
        binned = (np.where(bin_of_row == number, error, 0) for number in range(len(edges)))
        self.sums = np.empty((visitors, len(plain) + len(edges)))
        for place, column in enumerate(chain(plain, binned)):
            self.sums[:, place] = np.bincount(self.visitor, column, visitors)

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
        rows = np.cumsum(weights.take(self.visitor), dtype=self.counts)
        up_to = np.append(0, rows[self.last]).astype(np.float64)
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
