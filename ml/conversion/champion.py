"""The model that scores: what is saved, and all that scoring a row needs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml.arrays import Floats
from ml.conversion.bands import Thresholds
from ml.conversion.calibration import Calibrator
from ml.conversion.constants import Constants
from ml.conversion.model import Model

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Champion:
    """The model that scores, its calibrator, the thresholds of its risk bands, and what can be no reason where."""

    model: Model
    calibrator: Calibrator
    thresholds: Thresholds
    constants: Constants

    def probability(self, inputs: "pd.DataFrame") -> Floats:
        """Return the calibrated probability of a conversion for each row."""
        return self.calibrator.probability(self.model.log_odds(inputs))
