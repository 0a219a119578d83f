"""Risk bands: how likely a session is to leave, against the usual at its decision point."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.config import RiskBands
from ml.data.rows import Dataset

if TYPE_CHECKING:
    import pandas as pd

BANDS = ("low", "medium", "high")


@dataclass(frozen=True)
class Thresholds:
    """Conversion rates of the training slice and the multiples of them that part the risk bands."""

    rates: dict[str, float]
    overall_rate: float
    bands: RiskBands

    @classmethod
    def from_rows(cls, data: Dataset, rows: npt.NDArray[np.intp], bands: RiskBands) -> "Thresholds":
        """Take the usual rates from rows of the data set.

        Parameters
        ----------
        data : Dataset
            All rows.
        rows : array of int
            Positions of the training slice's rows.
        bands : RiskBands
            Multiples of the usual rate.

        Returns
        -------
        Thresholds
            With a rate for each decision point that has one.
        """
        points = data.decision_point
        codes, label = points.codes[rows], data.label[rows]
        counts = np.bincount(codes, minlength=len(points.categories))
        bought = np.bincount(codes, label, minlength=len(points.categories))
        rates = {
            str(point): float(bought[code] / counts[code])
            for code, point in enumerate(points.categories)
            if bought[code]
        }
        return cls(rates, float(label.mean()), bands)

    def risk_band(self, probability: Floats, points: "pd.Categorical") -> npt.NDArray[np.int8]:
        """Say how likely each row is to leave, compared with the usual at its decision point.

        Parameters
        ----------
        probability : array of float
            Probability of a conversion.
        points : Categorical
            Decision point of the same rows.

        Returns
        -------
        array of int
            Risk of leaving, as a position in `BANDS`.
        """
        usual = np.array([self.rates.get(str(point)) or self.overall_rate for point in points.categories])
        ratio = probability / usual[points.codes]
        edges = [-self.bands.low_from, -self.bands.high_below]
        return np.asarray(np.digitize(-ratio, edges, right=True), dtype=np.int8)
