"""Intervals of figures that some resamples do not have."""

import numpy as np

from ml.arrays import Floats


def bounds(resamples: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Return percentile bounds; a resample without a figure lies below the lower and above the upper one.

    Parameters
    ----------
    resamples : ndarray of shape (n_resamples, ...)
        The figure in each resample, NaN where it is not defined.
    confidence : float
        Confidence of the interval, 0 to 1.

    Returns
    -------
    (ndarray of shape (...), ndarray of shape (...))
        Lower and upper bounds, infinite where too many resamples have no figure.
    """
    undefined, tail = np.isnan(resamples), (1 - confidence) / 2
    with np.errstate(invalid="ignore"):
        lower = np.quantile(np.where(undefined, -np.inf, resamples), tail, axis=0)
        upper = np.quantile(np.where(undefined, np.inf, resamples), 1 - tail, axis=0)
    return lower, upper
