"""Intervals where an arm has no or only conversions."""

import numpy as np
from scipy.stats import norm

from ml.experiment.arms import Arms


def widened(value: float, interval: tuple[float, float], arms: Arms, confidence: float) -> tuple[float, float]:
    """Widen a bootstrap interval of a difference in rates where no row, or every row, of an arm converted.

    There all resamples agree, as if that arm's rate were known. Wilson's interval says how far it may be off: 0 of n
    visitors may stand for a rate up to z^2 / (n + z^2). The two arms' distances are joined as Newcombe joins them, by
    the root of the sum of their squares.

    Parameters
    ----------
    value : float
        Difference in rates, treated minus control.
    interval : (float, float)
        Its bootstrap interval.
    arms : Arms
        The rows that the difference is about, with both arms.
    confidence : float
        Confidence of the interval, 0 to 1.

    Returns
    -------
    (float, float)
        The interval; as it was, where both arms have rows that converted and rows that did not.

    References
    ----------
    Newcombe (1998), Interval estimation for the difference between independent proportions, Statistics in Medicine
    17:873-890, method 10.
    """
    lower, upper = interval
    z2 = norm.ppf(0.5 + confidence / 2) ** 2
    for arm in (1, 0):
        rows = arms.of(arm)
        rate = rows.outcome.mean()
        if rate not in (0, 1):
            continue
        slack = z2 / (rows.n_visitors + z2)
        # A treated rate that may be higher, or a control rate that may be lower, raises the difference.
        if rate != arm:
            upper = value + np.hypot(upper - value, slack)
        else:
            lower = value - np.hypot(value - lower, slack)
    return float(lower), float(upper)
