"""Conversion predictions of some rows, by the champion that is published."""

from typing import TYPE_CHECKING

import numpy as np

from ml.conversion.champion import Champion
from ml.conversion.predictions import explained_predictions
from ml.data.rows import Dataset
from ml.data.split import MODEL_SPLITS, NEW
from ml.publish.predictions import prediction_rows
from ml.publish.tables import plain
from ml.run import Stamp
from ml.scoring.changes import places_of
from warehouse.contract import Contract

if TYPE_CHECKING:
    import pyarrow as pa

# Sessions that no training has split: not over yet, closed since, or of a time that no clock can have shown.
OPEN, IMPLAUSIBLE = "open", "implausible"
SPLIT = (*MODEL_SPLITS, "embargo")


def conversion_rows(
    data: Dataset, champion: Champion, old: "pa.Table", stamp: Stamp, contract: Contract, *, threads: int
) -> "pa.Table":
    """Score rows; those that the training split keep their split.

    Parameters
    ----------
    data : Dataset
        The rows.
    champion : Champion
        The published model.
    old : pyarrow.Table
        The predictions that these visitors had.
    stamp : Stamp
        The published run, and the time.
    contract : Contract
        Contract of conversion_predictions.
    threads : int
        Threads to use.

    Returns
    -------
    pyarrow.Table
        One prediction per row; a row of the training split has no reasons.
    """
    import pandas as pd

    split = np.where(data.is_mature == 1, NEW, OPEN).astype(object)
    split[(data.is_mature == 1) & (data.decided_ms < data.plausible_from_ms)] = IMPLAUSIBLE
    place = places_of(data.identity, old, contract.grain)
    known = np.flatnonzero(place >= 0)
    before = plain(old.select(["dataset_split"])).column(0).to_numpy(zero_copy_only=False)[place[known]]
    is_kept = np.isin(before.astype(str), SPLIT)
    split[known[is_kept]] = before[is_kept]
    predictions = explained_predictions(champion, data, pd.Categorical(split), threads)
    return prediction_rows(predictions, stamp, contract)
