"""Estimates against the effects that only a simulation knows."""

import numpy as np

from ml.arrays import Floats


def pehe(predicted: Floats, effect: Floats) -> float:
    """Return the root mean squared error of predicted effects (precision in estimating heterogeneous effects).

    Parameters
    ----------
    predicted : array of float, shape (rows,)
        Predicted uplift.
    effect : array of float, shape (rows,)
        Expected effect of each row, as only a simulation knows it.

    Returns
    -------
    float
        0 is perfect.

    References
    ----------
    Hill (2011), Bayesian nonparametric modeling for causal inference, JCGS 20:217-240.
    """
    return float(np.sqrt(np.mean((predicted - effect) ** 2)))
