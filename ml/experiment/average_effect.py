"""The average effect of an experiment, with its interval."""

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from ml.arrays import Labels
from ml.bootstrap import visitor_codes
from warehouse.errors import FunneliftError


def average_effect(
    treatment: Labels, outcome: Labels, visitor: npt.NDArray[np.int32], confidence: float
) -> tuple[float, float, float]:
    """Return the treated-minus-control difference in mean outcomes with its cluster-robust normal interval.

    The variance is the sum over visitors of (sum of the visitor's residuals, each divided by the rows of its arm)
    squared, times G / (G - 1) for the G visitors of an arm. With one row a visitor this is Welch's unpooled variance.

    Parameters
    ----------
    treatment, outcome : array of int, shape (rows,)
        0 or 1.
    visitor : array of int, shape (rows,)
        Number of each row's visitor.
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
    codes, n_visitors = visitor_codes(visitor)
    influence, means = np.zeros(len(outcome)), {}
    for arm, name, sign in ((1, "treated", 1), (0, "control", -1)):
        rows = np.flatnonzero(treatment == arm)
        clusters = len(np.unique(codes[rows]))
        if clusters < 2:
            raise FunneliftError(
                f"{clusters} visitors among the {name} test rows; an interval needs two in each arm: check the "
                "treatment column and the split"
            )
        means[arm] = outcome[rows].mean()
        correction = np.sqrt(clusters / (clusters - 1))
        influence[rows] = sign * correction * (outcome[rows] - means[arm]) / len(rows)
    error = np.sqrt(np.sum(np.bincount(codes, influence, n_visitors) ** 2))
    difference, half = means[1] - means[0], norm.ppf(0.5 + confidence / 2) * error
    return float(difference), float(difference - half), float(difference + half)
