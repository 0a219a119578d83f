"""Rows in the order of a score, so that a resample needs no sort."""

from collections.abc import Sequence

import numpy as np

from ml.arrays import Counts, Floats, Weights
from ml.experiment.arms import Arms
from ml.uplift.curves import rank_order, share_of_perfect_qini, share_of_perfect_uplift


class RankedArms:
    """Test rows in the rank order of one score, so that a resample costs one pass and no sort.

    Parameters
    ----------
    score : ndarray of shape (n_rows,)
        Higher means more uplift. Ties enter the curves together; which of them fill a share is drawn at random.
    arms : Arms
        The same rows.
    shares : sequence of float
        Shares of the rows for uplift@k.
    seed : int
        Seed of the order among ties.
    """

    def __init__(self, score: Floats, arms: Arms, shares: Sequence[float], seed: int) -> None:
        self.arms, self.shares, self.order = arms, shares, rank_order(score, seed)
        self.visitor = arms.visitor_codes[self.order]
        self.treatment, self.outcome = arms.treatment[self.order].astype(np.uint8), arms.outcome[self.order]
        # Conversions change only at these rows, so sums between them are all that the areas need.
        self.converted = np.flatnonzero(self.outcome)
        self.converted_treatment = self.treatment[self.converted]
        ordered = score[self.order]
        # The last row of each score, and how many rows that converted are ranked as high as it.
        self.ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        self.converted_to_end = np.searchsorted(self.converted, self.ends, side="right")
        # Half as wide is nearly twice as fast; a resample weighs a row 255 at most.
        self.counts = np.int32 if len(score) < 2**31 // 255 else np.int64

    def top(self, share: float) -> Arms:
        """Return the share of the rows that the score ranks highest, rounded down to whole rows."""
        return self.arms.take(self.order[: int(len(self.order) * share)])

    def metrics(self, weights: Weights) -> Floats:
        """Return the metrics under weights of the visitors: each row counts as often as its visitor's weight says.

        Parameters
        ----------
        weights : ndarray of shape (n_resamples, n_visitors)
            Weight of each visitor, 0 to 255.

        Returns
        -------
        ndarray of shape (n_resamples, 2 + n_shares)
            Qini coefficient, AUUC and uplift@k for each share, equal to the plain functions' values on rows that are
            copied so often; NaN where they are.
        """
        found = np.array([self._sums(each) for each in weights])
        qini_area, uplift_area, cells = found[:, 0], found[:, 1], found[:, 2:6].T
        qini, uplift = share_of_perfect_qini(qini_area, cells), share_of_perfect_uplift(uplift_area, cells)
        return np.column_stack([qini, uplift, found[:, 6:]])

    def _sums(self, weights: Weights) -> list[float]:
        weight = weights.take(self.visitor)
        n: Counts = np.cumsum(weight, dtype=self.counts)
        n_treated: Counts = np.cumsum(weight * self.treatment, dtype=self.counts)
        n_control = n - n_treated
        conversions = weight[self.converted].astype(np.int64)
        y_treated = np.cumsum(conversions * self.converted_treatment)
        y_control = np.cumsum(conversions) - y_treated
        if len(self.ends) < len(weight):
            areas = self._areas_of_ties(n, n_treated, np.append(0, y_treated), np.append(0, y_control))
        else:
            areas = self._areas(weight, (n_treated, n_control), y_treated, y_control)
        y_treated, y_control = np.append(0, y_treated), np.append(0, y_control)
        cells = [y_treated[-1], n_treated[-1] - y_treated[-1], y_control[-1], n_control[-1] - y_control[-1]]
        at_shares = []
        for share in self.shares:
            size = int(n[-1] * share)
            # The row that fills the share may enter with a part of its weight.
            last = int(np.searchsorted(n, size))
            surplus, arm = int(n[last]) - size, int(self.treatment[last])
            surplus_converted = surplus * int(self.outcome[last])
            upto = np.searchsorted(self.converted, last, side="right")
            treated = int(n_treated[last]) - surplus * arm
            control = size - treated
            y1 = y_treated[upto] - surplus_converted * arm
            y0 = y_control[upto] - surplus_converted * (1 - arm)
            at_shares.append(y1 / treated - y0 / control if treated and control else np.nan)
        return [*areas, *cells, *at_shares]

    def _areas_of_ties(self, n: Counts, n_treated: Counts, y_treated: Counts, y_control: Counts) -> tuple[float, float]:
        """Areas under the Qini and the uplift curve with a point at each distinct score."""
        total, treated = n[self.ends].astype(np.float64), n_treated[self.ends].astype(np.float64)
        control = total - treated
        gained, lost = y_treated[self.converted_to_end], y_control[self.converted_to_end]
        qini = gained - lost * treated / np.maximum(control, 1)
        uplift = (gained / np.maximum(treated, 1) - lost / np.maximum(control, 1)) * total
        steps = np.diff(total, prepend=0)
        qini_area, uplift_area = (float(np.sum(steps * (c + np.append(0, c[:-1])))) / 2 for c in (qini, uplift))
        return qini_area, uplift_area

    def _areas(
        self, weight: Weights, arms: tuple[Counts, Counts], y_treated: Counts, y_control: Counts
    ) -> tuple[float, float]:
        """Areas under both curves with a point at each row, by sums over the rows that converted."""
        n_treated, n_control = arms
        # Trapezoid rule: the curve's point at a row counts for half the step to it and half the step from it.
        both_steps = np.add(weight, np.append(weight[1:], np.uint8(0)), dtype=np.uint16)
        # Both curves are conversions times an arm ratio: Q = Y_T - Y_C N_T/N_C and
        # U = Y_T (1 + N_C/N_T) - Y_C (1 + N_T/N_C). Where a divisor is 0, so are the conversions it goes with.
        steps = np.add.reduceat(both_steps, self.converted, dtype=np.float64)
        ratio = n_treated / np.maximum(n_control, 1)
        ratio *= both_steps
        odds = np.add.reduceat(ratio, self.converted)
        np.divide(n_control, np.maximum(n_treated, 1), out=ratio)
        ratio *= both_steps
        inverse_odds = np.add.reduceat(ratio, self.converted)
        # Not the @ of linear algebra: its own threads would fight the pool's.
        qini_area = np.sum(y_treated * steps - y_control * odds) / 2
        uplift_area = np.sum(y_treated * (steps + inverse_odds) - y_control * (steps + odds)) / 2
        return float(qini_area), float(uplift_area)
