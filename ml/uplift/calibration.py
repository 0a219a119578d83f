"""Whether predicted effects have the right size."""

import numpy as np

from ml.arrays import Floats, Rows, Weights
from ml.bootstrap import Bootstrap, resampled_sums
from ml.conversion.curve import equal_count_edges
from ml.experiment.arms import Arms
from ml.uplift.metrics import UpliftMetric

BINS = 10


def uplift_calibration(
    learner: str, predicted: Floats, arms: Arms, bootstrap: Bootstrap, *, bins: int = BINS
) -> list[UpliftMetric]:
    """Say whether predicted effects have the right size.

    calibration_slope is the slope of the best linear predictor of the effect given the prediction s: beta in
    y = a + b s + c (t - p) + beta (t - p) (s - mean s) + error. 1 is perfect, below 1 the predictions spread too far,
    0 they say nothing. As arms are random with one probability p, beta is the slope of y on s among treated rows minus
    that among control rows, whatever p is.

    calibration_error is the mean over bins of equal count, weighted by rows, of |mean predicted - observed uplift|.
    Noise alone keeps it above 0: with n_T and n_C rows of the arms in a bin (one row per visitor) and outcome rates r_T
    and r_C, a perfect prediction is off by sqrt(2/pi) sqrt(r_T (1 - r_T) / n_T + r_C (1 - r_C) / n_C) there on average.
    calibration_error_floor is that floor for these rows and visitors: how far the bins of a resample lie from the bins
    themselves, in the same weighted mean; the mean and the range over resamples.

    A percentile interval of the error would never hold a true error of 0. But the error cannot be further from the
    true one than the observed bins are from the true bins, and the floor's distribution says how far that is. The
    interval is the error less and plus that distance: wide rather than narrow, and it holds 0 where noise explains all.

    Parameters
    ----------
    learner : str
        Learner that the predictions belong to.
    predicted : ndarray of shape (n_rows,)
        Predicted uplift, a difference in probabilities.
    arms : Arms
        The same rows.
    bootstrap : Bootstrap
        The intervals.
    bins : int
        Number of bins of about equal count; rows of equal prediction share a bin.

    Returns
    -------
    list of UpliftMetric
        The three metrics with intervals of a bootstrap of visitors, by percentiles but for calibration_error. Bins
        without rows of both arms do not count. One prediction for all rows has no slope, and no row for it.

    References
    ----------
    Chernozhukov, Demirer, Duflo and Fernandez-Val (2018), Generic machine learning inference on heterogeneous
    treatment effects in randomized experiments, NBER 24678: its best linear predictor, with 1 and s as covariates.
    """
    bin_of_row, n_bins = _equal_count_bins(predicted, bins)
    # Sums of squares lose no digits when the predictions are centred; the slope does not change.
    centre = predicted.mean()
    s, outcome = predicted - centre, arms.outcome
    columns = np.column_stack([np.ones(len(s)), s, outcome, s * outcome, s**2])

    def sums(weights: Weights) -> Floats:
        found = resampled_sums(columns, 2 * bin_of_row + arms.treatment, 2 * n_bins, arms.visitor_codes, weights)
        return found.reshape(len(weights), n_bins, 2, 5)

    whole, resampled = sums(np.ones((1, arms.n_visitors), np.uint8)), sums(bootstrap.weights(arms.n_visitors))
    (n, gap), (resampled_n, resampled_gap) = _bin_gaps(whole), _bin_gaps(resampled)
    error, gap = _mean_size(n, gap - centre), gap[0]
    distance = _mean_size(resampled_n, resampled_gap - gap)
    distance = distance[np.isfinite(distance)]
    reach = np.quantile(distance, bootstrap.confidence)
    found = {
        "calibration_error": (error[0], max(0.0, error[0] - reach), error[0] + reach),
        "calibration_error_floor": (distance.mean(), *bootstrap.interval(distance)),
    }
    slope = _slope_of_effect(whole)[0]
    # A difference of two probabilities differs by rounding where the effect does not.
    if np.ptp(predicted) > 1e-12 and np.isfinite(slope):
        found["calibration_slope"] = (slope, *bootstrap.interval(_slope_of_effect(resampled)))
    return [
        UpliftMetric(learner, "", metric, float(value), float(lower), float(upper), *arms.counts)
        for metric, (value, lower, upper) in found.items()
    ]


def _equal_count_bins(predicted: Floats, bins: int) -> tuple[Rows, int]:
    order = np.argsort(predicted, kind="stable")
    edges = equal_count_edges(predicted[order], bins)
    bin_of_row = np.empty(len(order), dtype=np.intp)
    bin_of_row[order] = np.repeat(np.arange(len(edges)), np.diff([*edges, len(order)]))
    return bin_of_row, len(edges)


def _bin_gaps(sums: Floats) -> tuple[Floats, Floats]:
    """Return rows, and observed uplift minus mean centred prediction, of each bin: shapes (resamples, bins)."""
    n_arm, predicted, converted = np.moveaxis(sums[..., :3], 3, 0)
    n = n_arm.sum(axis=2)
    with np.errstate(invalid="ignore"):
        return n, np.diff(converted / n_arm, axis=2)[..., 0] - predicted.sum(axis=2) / n


def _mean_size(n: Floats, gap: Floats) -> Floats:
    """Return |gap| averaged over bins, weighted by rows; bins where it is NaN do not count: shape (resamples,)."""
    known = np.isfinite(gap)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sum(np.where(known, n * np.abs(gap), 0), axis=1) / np.sum(n * known, axis=1))


def _slope_of_effect(sums: Floats) -> Floats:
    """Return the slope of outcome on prediction among treated minus that among control rows: shape (resamples,)."""
    n, s, y, sy, ss = np.moveaxis(sums.sum(axis=1), 2, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.diff((sy - s * y / n) / (ss - s**2 / n), axis=1)[:, 0])
