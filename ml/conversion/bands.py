"""Risk bands: how likely a session is to leave, against the baseline rate of its decision point."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import Codes, Floats, Rows
from ml.config import RiskBands
from ml.data.rows import Dataset

if TYPE_CHECKING:
    import pandas as pd

BANDS = ("low", "medium", "high")


@dataclass(frozen=True)
class Thresholds:
    """Baseline rates (conversion rates of the training split) and the multiples of them that bound the risk bands."""

    rates: dict[str, float]
    overall_rate: float
    bands: RiskBands

    @classmethod
    def from_rows(cls, data: Dataset, rows: Rows, bands: RiskBands) -> "Thresholds":
        """Take the baseline rates from rows of the data set.

        Parameters
        ----------
        data : Dataset
            All rows.
        rows : ndarray of int
            Positions of the training split's rows.
        bands : RiskBands
            Multiples of the baseline rate.

        Returns
        -------
        Thresholds
            With a rate for each decision point where a row converted.
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

    def risk_band(self, probability: Floats, points: "pd.Categorical") -> Codes:
        """Say how likely each row is to leave, compared with the baseline rate of its decision point.

        Parameters
        ----------
        probability : ndarray of shape (n_rows,)
            Probability of a conversion.
        points : Categorical of shape (n_rows,)
            Decision point of the same rows.

        Returns
        -------
        ndarray of shape (n_rows,)
            Risk of leaving, as a position in `BANDS`.
        """
        baseline_rate = np.array([self.rates.get(str(point)) or self.overall_rate for point in points.categories])
        ratio = probability / baseline_rate[points.codes]
        edges = [-self.bands.low_from, -self.bands.high_below]
        return np.asarray(np.digitize(-ratio, edges, right=True), dtype=np.int8)
