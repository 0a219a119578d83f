"""Arrays by what they hold; a name says the type, a docstring the shape. And one number of them, as tables hold it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Rows = npt.NDArray[np.intp]
Codes = npt.NDArray[np.int8]
Weights = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.signedinteger]
# From positions of rows to one number per row.
Predict = Callable[[Rows], Floats]


def finite_or_none(value: float) -> float | None:
    """Return a number as a table holds it: null where it is not known.

    Parameters
    ----------
    value : float
        A number, or NaN or infinity.

    Returns
    -------
    float or None
        The number; None where it is not finite.
    """
    return float(value) if np.isfinite(value) else None
