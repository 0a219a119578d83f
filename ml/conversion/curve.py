"""Predicted against observed rates, in bins of equal count."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ml.arrays import Floats, Labels, Rows

WILSON_Z = 1.959963984540054


@dataclass(frozen=True)
class CalibrationBin:
    """One bin of a calibration curve: rows of neighbouring probabilities, and the share that converted."""

    model: str
    slice: str
    bin: int
    mean_predicted: float
    observed_rate: float
    ci_lower: float
    ci_upper: float
    n_rows: int
    n_positives: int


def equal_count_edges(ranked: Floats, bins: int) -> Rows:
    """Return where bins of about equal count start; rows of equal probability share a bin.

    Parameters
    ----------
    ranked : ndarray of shape (n_rows,)
        Probabilities in ascending order.
    bins : int
        Number of bins; fewer come back when many rows are equal.

    Returns
    -------
    ndarray of shape (n_bins,)
        First position of each bin.

    Examples
    --------
    >>> equal_count_edges(np.array([0.1, 0.2, 0.2, 0.3]), bins=4).tolist()
    [0, 1, 3]
    """
    wanted = np.arange(bins) * len(ranked) // bins
    return np.unique(np.searchsorted(ranked, ranked[wanted], side="left"))


def calibration_curve(model: str, name: str, probability: Floats, label: Labels, bins: int) -> Iterable[CalibrationBin]:
    """Return predicted against observed rates in bins of equal count.

    Parameters
    ----------
    model, name : str
        Model and slice that the bins belong to.
    probability : ndarray of shape (n_rows,)
        Predicted probabilities.
    label : ndarray of shape (n_rows,)
        1 where the row converted.
    bins : int
        Number of bins.

    Returns
    -------
    iterable of CalibrationBin
        Bins from low to high probability with Wilson's 95 % interval of the observed rate.
    """
    order = np.argsort(probability, kind="stable")
    ranked, converted = probability[order], label[order]
    edges = equal_count_edges(ranked, bins)
    for number, (start, end) in enumerate(zip(edges, [*edges[1:], len(ranked)], strict=True), 1):
        n, positives = int(end - start), int(converted[start:end].sum())
        lower, upper = wilson_interval(positives, n)
        yield CalibrationBin(
            model, name, number, float(ranked[start:end].mean()), positives / n, lower, upper, n, positives
        )


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion.

    Parameters
    ----------
    successes, trials : int
        Counts; at least one trial.

    Returns
    -------
    (float, float)
        Lower and upper bound, 0 to 1.

    References
    ----------
    Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22:209-212.

    Examples
    --------
    >>> [round(end, 3) for end in wilson_interval(0, 10)]
    [0.0, 0.278]
    """
    rate, z2 = successes / trials, WILSON_Z**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = WILSON_Z / (1 + z2 / trials) * np.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    lower, upper = float(centre - half), float(centre + half)
    return (0.0 if successes == 0 else lower), (1.0 if successes == trials else upper)
