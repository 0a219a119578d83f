"""Arrays by what they hold; a name says the type, a docstring the shape."""

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
