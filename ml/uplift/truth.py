"""Estimates against the effects that only a simulation knows."""

from dataclasses import dataclass

import numpy as np

from ml.arrays import Floats


@dataclass(frozen=True)
class TrueError:
    """The error of the predicted effects, and that of predicting the average effect for all rows."""

    pehe: float
    pehe_constant: float


def pehe(predicted: Floats, effect: Floats) -> float:
    """Return the root mean squared error of predicted effects (precision in estimating heterogeneous effects).

    Parameters
    ----------
    predicted : ndarray of shape (n_rows,)
        Predicted uplift.
    effect : ndarray of shape (n_rows,)
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


def true_error(predicted: Floats, effect: Floats) -> TrueError:
    """Compare predicted effects with the true ones, both of shape (n_rows,)."""
    return TrueError(pehe(predicted, effect), pehe(np.full(len(effect), effect.mean()), effect))
