"""What every model of conversion can do, and what it is fitted on."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels
from ml.data.features import Mart

if TYPE_CHECKING:
    import pandas as pd

CHUNK_ROWS = 200_000
HISTOGRAM_BINS = 64


class Model(Protocol):
    """A fitted model that scores in log-odds and can say which feature pushed a score where."""

    name: ClassVar[str]
    title: ClassVar[str]
    file_name: ClassVar[str]
    mart: Mart

    def log_odds(self, inputs: "pd.DataFrame") -> Floats:
        """Return the log-odds of a conversion for each row."""

    def contributions(self, inputs: "pd.DataFrame") -> Floats:
        """Return SHAP values in log-odds: ndarray of shape (n_rows, n_features), features in the mart's order."""

    def save(self, path: Path) -> None:
        """Write the model to a file; equal models give equal bytes."""


@dataclass(frozen=True)
class Training:
    """Rows to fit on, with weights that undo the sampling, and the calibration split for early stopping."""

    inputs: "pd.DataFrame"
    label: Labels
    weights: npt.NDArray[np.float32]
    stop_inputs: "pd.DataFrame"
    stop_label: Labels
    mart: Mart
    seed: int
    threads: int
    stop_weights: npt.NDArray[np.float32] | None = None


def chunks(inputs: "pd.DataFrame") -> "list[pd.DataFrame]":
    """Cut rows into pieces that fit in memory beside their predictions."""
    if 0 < len(inputs) <= CHUNK_ROWS:
        return [inputs]
    return [inputs.iloc[start : start + CHUNK_ROWS] for start in range(0, len(inputs), CHUNK_ROWS)]
