"""The average effect of an experiment, with its interval."""

import numpy as np
from scipy.stats import norm

from ml.experiment.arms import Arms
from ml.experiment.experiment import ARM_NAMES
from warehouse.errors import FunneliftError


def average_effect(arms: Arms, confidence: float) -> tuple[float, float, float]:
    """Return the treated-minus-control difference in mean outcomes with its cluster-robust normal interval.

    The variance is the sum over visitors of (sum of the visitor's residuals, each divided by the rows of its arm)
    squared, times G / (G - 1) for the G visitors of an arm. With one row per visitor this is Welch's unpooled variance.

    Parameters
    ----------
    arms : Arms
        Rows of both arms.
    confidence : float
        Confidence of the interval, 0 to 1.

    Returns
    -------
    (float, float, float)
        Difference, lower and upper bound.

    Raises
    ------
    FunneliftError
        When an arm holds fewer than two visitors.

    References
    ----------
    Liang and Zeger (1986), Longitudinal data analysis using generalized linear models, Biometrika 73:13-22.
    """
    influence, means = np.zeros(len(arms)), {}
    for arm, name in ARM_NAMES.items():
        rows = np.flatnonzero(arms.treatment == arm)
        clusters = len(np.unique(arms.visitor_codes[rows]))
        if clusters < 2:
            raise FunneliftError(
                f"{clusters} visitors among the {name} test rows; an interval needs two in each arm: check the "
                "treatment column and the split"
            )
        means[arm] = arms.outcome[rows].mean()
        sign, correction = (1 if arm else -1), np.sqrt(clusters / (clusters - 1))
        influence[rows] = sign * correction * (arms.outcome[rows] - means[arm]) / len(rows)
    error = np.sqrt(np.sum(np.bincount(arms.visitor_codes, influence, arms.n_visitors) ** 2))
    difference, half = means[1] - means[0], norm.ppf(0.5 + confidence / 2) * error
    return float(difference), float(difference - half), float(difference + half)
