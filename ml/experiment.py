"""One two-armed experiment: a real one where arms were assigned, else a simulation whose effects are known."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.split import NAMES

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
SPLITS = (*NAMES, "outside")


@dataclass(frozen=True)
class Truth:
    """What only a simulation knows: both outcomes of every row, its segment, and the expected effect there.

    `control` and `treated` are the row's outcome without and with treatment (0 or 1; -1 unknown); `segment` is a
    position in `segments`; `effect` is the expected treated-minus-control outcome of the row's segment.
    """

    control: npt.NDArray[np.int8]
    treated: npt.NDArray[np.int8]
    segment: npt.NDArray[np.int8]
    segments: tuple[str, ...]
    effect: Floats


@dataclass(frozen=True)
class Experiment:
    """Rows of one experiment at one decision point, one row a session, in the order of the data set.

    `inputs` holds the features (float32 and categories), `categorical` names the categories among them. `treatment` is
    1, 0 or -1 for a row that has no arm and is only scored; `outcome` is what was observed under that arm, -1 where it
    is not known. `visitor` numbers the visitors, the units that were randomised. `split` is a position in `SPLITS`:
    rows of train, calibration and test have an arm and an outcome. `treated_share` is the designed share of treated
    visitors.
    """

    inputs: "pd.DataFrame"
    categorical: tuple[str, ...]
    treatment: npt.NDArray[np.int8]
    outcome: npt.NDArray[np.int8]
    visitor: npt.NDArray[np.int32]
    split: npt.NDArray[np.int8]
    treated_share: float
    truth: Truth | None = None

    def __len__(self) -> int:
        return len(self.treatment)

    @property
    def is_simulated(self) -> bool:
        """Whether arms and effects are made up."""
        return self.truth is not None

    def rows(self, name: str) -> npt.NDArray[np.intp]:
        """Return the positions of a slice's rows."""
        return np.flatnonzero(self.split == SPLITS.index(name))
