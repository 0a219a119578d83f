"""Whether a new champion is worse than the one before it: paired, on the same rows, with an interval."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels, Weights
from ml.bootstrap import Bootstrap, visitor_codes
from ml.conversion.calibration import row_log_loss


@dataclass(frozen=True)
class Difference:
    """Mean log loss of a new model less that of an old one on the same rows, with its interval; below 0 is better."""

    value: float
    ci_lower: float
    ci_upper: float
    n_rows: int

    @property
    def is_worse(self) -> bool:
        """Whether the new model is worse by more than chance explains."""
        return self.ci_lower > 0


def log_loss_difference(
    new: Floats, old: Floats, label: Labels, visitor: npt.NDArray[np.int32], bootstrap: Bootstrap
) -> Difference:
    """Compare two models' probabilities of the same rows, which neither was fitted on.

    Parameters
    ----------
    new, old : ndarray of shape (n_rows,)
        Probabilities of a conversion.
    label : ndarray of shape (n_rows,)
        1 where the row converted.
    visitor : ndarray of shape (n_rows,)
        Number of each row's visitor.
    bootstrap : Bootstrap
        Resamples of the visitors.

    Returns
    -------
    Difference
        With a percentile interval of the paired difference.
    """
    difference = row_log_loss(new, label) - row_log_loss(old, label)
    codes, visitors = visitor_codes(visitor)
    sums = np.bincount(codes, difference, visitors)
    rows = np.bincount(codes, minlength=visitors)

    def mean(weights: Weights) -> Floats:
        wide = weights.astype(np.float64)
        with np.errstate(invalid="ignore"):
            return np.asarray((wide @ sums) / (wide @ rows))

    lower, upper = bootstrap.interval(bootstrap.run(mean, bootstrap.weights(visitors)))
    return Difference(float(difference.mean()), lower, upper, len(label))
