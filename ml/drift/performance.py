"""Is the champion as good on outcomes that have become known since as it was on its test split?"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ml.arrays import Floats, Labels, Rows, Weights, finite_or_none
from ml.bootstrap import Bootstrap, visitor_codes
from ml.config import Monitoring
from ml.conversion.calibration import row_log_loss
from ml.conversion.curve import calibration_curve
from ml.conversion.ranked import METRICS as RANKED_METRICS
from ml.conversion.ranked import RankedScores
from ml.drift.entries import ALARM, NOT_COUNTED, STABLE, TOO_FEW, WATCH, DriftCalibration, PerformanceDrift
from ml.drift.scored import Scored

RATIO = "observed_to_expected"
RATE_METRICS = ("observed_rate", "predicted_rate", RATIO, "normalised_log_loss")
METRICS = (*RANKED_METRICS, *RATE_METRICS)
LOWER_IS_WORSE = ("auc_roc", "average_precision")


@dataclass(frozen=True)
class Measured:
    """A metric with its bootstrap interval and standard error; NaN where the rows lack one of the classes."""

    value: float
    lower: float
    upper: float
    error: float


@dataclass(frozen=True)
class Outcomes:
    """The metrics of some rows, and how many rows, conversions and visitors they are of."""

    metrics: dict[str, Measured]
    n_rows: int
    n_positives: int
    n_visitors: int


class _Rates:
    """Rates and the normalised log loss, as functions of the visitors' weights."""

    def __init__(self, probability: Floats, label: Labels, visitor: Rows, visitors: int) -> None:
        columns = [np.ones(len(label)), label.astype(np.float64), probability, row_log_loss(probability, label)]
        self.sums = np.stack([np.bincount(visitor, column, visitors) for column in columns], axis=1)

    def metrics(self, weights: Weights) -> Floats:
        """Return the values of `RATE_METRICS`: ndarray of shape (n_resamples, n_metrics)."""
        rows, positives, expected, loss = (weights.astype(np.float64) @ self.sums).T
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = positives / rows
            # What the rate alone, said of every row, would lose.
            entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
            return np.column_stack([rate, expected / rows, positives / expected, loss / rows / entropy])


def measure(scored: Scored, rows: Rows, bins: int, bootstrap: Bootstrap) -> Outcomes:
    """Compute every metric on the rows whose outcome is known.

    The normalised log loss is the log loss over that of the rows' own conversion rate, said of every row: below 1 the
    champion knows more than the rate. Unlike the log loss it does not move with the rate alone.

    Parameters
    ----------
    scored : Scored
        Rows with a prediction.
    rows : ndarray of int
        Positions of the rows to look at.
    bins : int
        Bins of the expected calibration error.
    bootstrap : Bootstrap
        Resamples of the visitors.

    Returns
    -------
    Outcomes
        Metrics by name, with percentile intervals.

    References
    ----------
    He et al. (2014), Practical lessons from predicting clicks on ads at Facebook, ADKDD (normalised entropy).
    """
    rows = _known(scored, rows)
    label, probability = scored.label[rows], scored.probability[rows]
    if not len(rows):
        return Outcomes(dict.fromkeys(METRICS, Measured(np.nan, np.nan, np.nan, np.nan)), 0, 0, 0)
    codes, visitors = visitor_codes(scored.visitor[rows])
    ranked = RankedScores(probability, label, codes, visitors, bins)
    rates = _Rates(probability, label, codes, visitors)

    def every(weights: Weights) -> Floats:
        return np.column_stack([ranked.metrics(weights), rates.metrics(weights)])

    values = every(np.ones((1, visitors), np.uint8))[0]
    resampled = bootstrap.run(every, bootstrap.weights(visitors))
    metrics = {
        name: Measured(float(value), *bootstrap.interval(column), _deviation(column))
        for name, value, column in zip(METRICS, values, resampled.T, strict=True)
    }
    return Outcomes(metrics, len(rows), int(label.sum()), visitors)


def compare(
    period: str, reference: Outcomes, current: Outcomes, settings: Monitoring, false_alarms: float
) -> Iterable[PerformanceDrift]:
    """Set each metric beside the test split's.

    Parameters
    ----------
    period : str
        What the current rows are.
    reference, current : Outcomes
        Metrics of the test split and of the current rows.
    settings : Monitoring
        Which metrics raise an alarm, and how many conversions are enough.
    false_alarms : float
        Share of comparisons without a change in which any metric may leave its interval. The metrics that count share
        it equally (Bonferroni); the interval of any other metric is as wide as theirs.

    Returns
    -------
    iterable of PerformanceDrift
        One per metric. The interval of the change takes it for normal, with bootstrap standard errors and the samples
        for independent; that of observed over predicted conversions on the logarithmic scale.
    """
    counted: dict[str, float] = {name: least for name, least in settings.worse_by.items() if least is not None}
    z = NormalDist().inv_cdf(1 - false_alarms / max(1, len(counted)) / 2)
    few = min(current.n_positives, current.n_rows - current.n_positives) < settings.min_positives
    for name in METRICS:
        before, now = reference.metrics[name], current.metrics[name]
        change, lower, upper = _change(name, before, now, z)
        status = NOT_COUNTED
        if name in counted:
            known = np.isfinite([change, lower, upper]).all()
            status = TOO_FEW if few or not known else _status(name, before.value, (change, lower, upper), counted[name])
        yield PerformanceDrift(
            period=period,
            metric=name,
            value=finite_or_none(now.value),
            ci_lower=finite_or_none(now.lower),
            ci_upper=finite_or_none(now.upper),
            reference_value=finite_or_none(before.value),
            reference_ci_lower=finite_or_none(before.lower),
            reference_ci_upper=finite_or_none(before.upper),
            change=finite_or_none(change),
            change_lower=finite_or_none(lower),
            change_upper=finite_or_none(upper),
            status=status,
            n_rows=current.n_rows,
            n_positives=current.n_positives,
            n_visitors=current.n_visitors,
        )


def calibration(sample: str, scored: Scored, rows: Rows, bins: int) -> Iterable[DriftCalibration]:
    """Return predicted against observed rates of rows whose outcome is known, in bins of equal count.

    Parameters
    ----------
    sample : str
        Name of the rows.
    scored : Scored
        Rows with a prediction.
    rows : ndarray of int
        Positions of the rows to look at.
    bins : int
        Number of bins.

    Returns
    -------
    iterable of DriftCalibration
        One per bin; none where no outcome is known.
    """
    rows = _known(scored, rows)
    if not len(rows):
        return
    for entry in calibration_curve("champion", sample, scored.probability[rows], scored.label[rows], bins):
        yield DriftCalibration(
            sample, entry.bin, entry.mean_predicted, entry.observed_rate, entry.ci_lower, entry.ci_upper,
            entry.n_rows, entry.n_positives,
        )  # fmt: skip


def _known(scored: Scored, rows: Rows) -> Rows:
    return rows[scored.label[rows] >= 0]


def _change(name: str, before: Measured, now: Measured, z: float) -> tuple[float, float, float]:
    change = now.value - before.value
    if name != RATIO:
        half = z * float(np.hypot(before.error, now.error))
        return change, change - half, change + half
    if not (before.value > 0 and now.value > 0):
        return change, np.nan, np.nan
    middle = float(np.log(now.value / before.value))
    half = z * float(np.hypot(before.error / before.value, now.error / now.value))
    lower, upper = (before.value * (float(np.exp(end)) - 1) for end in (middle - half, middle + half))
    return change, lower, upper


def _status(name: str, before: float, change: tuple[float, float, float], least: float) -> str:
    """Say whether a change for the worse is more than chance, and then whether it is large enough to matter."""
    by, lower, upper = change
    if name == RATIO:
        # From 0.8 to 0.9 is a change for the better; from 0.8 to 1.3 is not.
        is_worse = abs(np.log(before + by)) > abs(np.log(before))
        is_sure = is_worse and not lower <= 0 <= upper
        is_large = not 1 / (1 + least) <= (before + by) / before <= 1 + least
    elif name in LOWER_IS_WORSE:
        is_sure, is_large = upper < 0, by < -least
    else:
        is_sure, is_large = lower > 0, by > least
    if not is_sure:
        return STABLE
    return ALARM if is_large else WATCH


def _deviation(resampled: Floats) -> float:
    finite = resampled[np.isfinite(resampled)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")
