"""What the champion says of every row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import Codes, Floats, Rows
from ml.conversion.champion import Champion
from ml.conversion.reasons import REASONS, reasons_of
from ml.data.rows import Dataset

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Predictions:
    """What the champion says of every row of a data set.

    Parameters
    ----------
    data : Dataset
        The rows.
    split : Categorical of shape (n_rows,)
        Split of each row.
    probability : ndarray of shape (n_rows,)
        Probability that the session still converts.
    risk_band : ndarray of shape (n_rows,)
        Risk of leaving, as a position in `BANDS`.
    explained : ndarray of int
        Positions of the rows that have reasons.
    reasons : sequence of pyarrow.DictionaryArray
        For each reason one text per explained row.
    """

    data: Dataset
    split: "pd.Categorical"
    probability: Floats
    risk_band: Codes
    explained: Rows
    reasons: "Sequence[pa.DictionaryArray]"

    def row_reasons(self) -> "list[pa.Array]":
        """Return one text per row for each reason, null where a row is not explained."""
        import pyarrow as pa

        place = np.full(len(self.data), -1, dtype=np.int64)
        place[self.explained] = np.arange(len(self.explained))
        # Rows without reasons look up a null.
        lookup = pa.array(place, mask=place < 0)
        return [texts.take(lookup) for texts in self.reasons]


def predict(
    champion: Champion,
    data: Dataset,
    split: "pd.Categorical",
    explained: Rows,
    reasons: "Sequence[pa.DictionaryArray]",
) -> Predictions:
    """Score every row of a data set.

    Parameters
    ----------
    champion : Champion
        The model that scores.
    data : Dataset
        The rows.
    split : Categorical of shape (n_rows,)
        Split of each row.
    explained : ndarray of int
        Positions of the rows that have reasons.
    reasons : sequence of pyarrow.DictionaryArray
        For each reason one text per explained row.

    Returns
    -------
    Predictions
        One per row, in the order of the data set.
    """
    log_odds = np.concatenate([champion.model.log_odds(part) for part in data.parts()])
    probability = champion.calibrator.probability(log_odds)
    risk_band = champion.thresholds.risk_band(log_odds, data.decision_point)
    return Predictions(data, split, probability, risk_band, explained, reasons)


def explained_predictions(champion: Champion, data: Dataset, split: "pd.Categorical", threads: int) -> Predictions:
    """Score rows, and give reasons for those that the champion was not trained on.

    Parameters
    ----------
    champion : Champion
        The model that scores.
    data : Dataset
        The rows.
    split : Categorical of shape (n_rows,)
        Split of each row.
    threads : int
        Threads to use.

    Returns
    -------
    Predictions
        One per row.
    """
    import pyarrow as pa

    explained = np.flatnonzero(np.asarray(split) != "train")
    nothing = [pa.array([], pa.string()).dictionary_encode()] * REASONS
    reasons = reasons_of(champion, data, explained, threads) if len(explained) else nothing
    return predict(champion, data, split, explained, reasons)
