"""Rows of `conversion_predictions`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.arrays import Codes
from ml.conversion.bands import BANDS
from ml.conversion.predictions import Predictions
from ml.publish.tables import stamped
from ml.run import Stamp

if TYPE_CHECKING:
    import pyarrow as pa


def prediction_rows(predictions: Predictions, stamp: Stamp) -> "pa.Table":
    """Lay out the rows of `conversion_predictions`.

    Parameters
    ----------
    predictions : Predictions
        What the champion says of each row.
    stamp : Stamp
        Run, model version and time.

    Returns
    -------
    pyarrow.Table
        One row per session and decision point.
    """
    import pyarrow as pa

    data, split = predictions.data, predictions.split
    columns: dict[str, tuple[Any, bool]] = {
        "session_id": (data.identity.column("session_id"), False),
        "decision_point": (data.identity.column("decision_point"), False),
        "visitor_id": (data.identity.column("visitor_id"), False),
        "decided_at": (data.identity.column("decided_at").cast(pa.timestamp("us")), False),
        "probability": (pa.array(predictions.probability), False),
        "abandon_probability": (pa.array(1 - predictions.probability), False),
        "risk_band": (_coded(predictions.risk_band, BANDS), False),
        **{f"reason_{number}": (texts, True) for number, texts in enumerate(predictions.row_reasons(), 1)},
        "dataset_split": (_coded(split.codes, list(split.categories)), False),
        "is_mature": (pa.array(data.is_mature.astype(np.int32)), False),
        "has_transaction": (pa.array(data.label.astype(np.int32), mask=data.is_mature != 1), True),
    }
    return stamped(columns, len(data), stamp)


def _coded(codes: Codes, names: Sequence[str]) -> "pa.DictionaryArray":
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.string()))
