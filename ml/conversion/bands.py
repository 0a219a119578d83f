"""Risk bands: how likely a session is to leave, against the others at its decision point."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import Codes, Floats
from ml.config import RiskBands

if TYPE_CHECKING:
    import pandas as pd

BANDS = ("low", "medium", "high")
# The cuts of decision points that have none of their own.
EVERYWHERE = "all"
Cuts = tuple[float, float]


@dataclass(frozen=True)
class Thresholds:
    """The scores (log-odds) that bound the bands, by decision point: high up to the first, low from the second on."""

    cuts: dict[str, Cuts]

    @classmethod
    def from_scores(cls, log_odds: Floats, points: "pd.Categorical", bands: RiskBands) -> "Thresholds":
        """Take the cuts from rows that the model was not fitted on.

        Parameters
        ----------
        log_odds : ndarray of shape (n_rows,)
            What the model says of the calibration split's rows. Not their probabilities: where isotonic steps give
            many rows one probability, a band could hold none.
        points : Categorical of shape (n_rows,)
            Decision point of the same rows.
        bands : RiskBands
            Shares of the rows.

        Returns
        -------
        Thresholds
            Cuts for each decision point with rows of three scores or more, in which every band then has rows, and one
            pair for all others.
        """
        return cls(dict(_all_cuts(log_odds, points, bands)))

    def risk_band(self, log_odds: Floats, points: "pd.Categorical") -> Codes:
        """Say how likely each row is to leave, compared with others at its decision point.

        Parameters
        ----------
        log_odds : ndarray of shape (n_rows,)
            What the model says of each row.
        points : Categorical of shape (n_rows,)
            Decision point of the same rows.

        Returns
        -------
        ndarray of shape (n_rows,)
            Risk of leaving, as a position in `BANDS`.
        """
        # Where all rows have one score or two, nothing says who leaves: all are in the middle.
        others = self.cuts.get(EVERYWHERE, (-np.inf, np.inf))
        cuts = np.array([self.cuts.get(str(point), others) for point in points.categories])
        high_to, low_from = cuts[points.codes].T
        band = np.where(log_odds <= high_to, BANDS.index("high"), BANDS.index("medium"))
        return np.asarray(np.where(log_odds >= low_from, BANDS.index("low"), band), dtype=np.int8)


def _all_cuts(log_odds: Floats, points: "pd.Categorical", bands: RiskBands) -> Iterator[tuple[str, Cuts]]:
    own = ((str(point), log_odds[points.codes == code]) for code, point in enumerate(points.categories))
    for name, scores in ((EVERYWHERE, log_odds), *own):
        if (found := _cuts(scores, bands)) is not None:
            yield name, found


def _cuts(log_odds: Floats, bands: RiskBands) -> Cuts | None:
    """Return the scores whose shares come nearest to those asked for, with a score for each band."""
    scores, rows = np.unique(log_odds, return_counts=True)
    if len(scores) < len(BANDS):
        return None
    upto = np.cumsum(rows) / rows.sum()
    high = int(np.argmin(np.abs(upto[:-2] - bands.high_share)))
    from_here = 1 - upto[high + 1 : -1]
    low = high + 2 + int(np.argmin(np.abs(from_here - bands.low_share)))
    return float(scores[high]), float(scores[low])
