"""Rows of `conversion_predictions`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ml.arrays import Codes
from ml.conversion.bands import BANDS
from ml.conversion.predictions import Predictions
from ml.data.features import IDENTITY
from ml.publish.tables import stamped
from ml.run import Stamp
from warehouse.contract import Contract

if TYPE_CHECKING:
    import pyarrow as pa


def prediction_rows(predictions: Predictions, stamp: Stamp, contract: Contract) -> "pa.Table":
    """Lay out the rows of `conversion_predictions`.

    Parameters
    ----------
    predictions : Predictions
        What the champion says of each row.
    stamp : Stamp
        Run, model version and time.
    contract : Contract
        The contract of that table.

    Returns
    -------
    pyarrow.Table
        One row per session and decision point.
    """
    import pyarrow as pa

    data, split = predictions.data, predictions.split
    columns: dict[str, Any] = {
        **{name: data.identity.column(name) for name in IDENTITY},
        "probability": predictions.probability,
        "abandon_probability": 1 - predictions.probability,
        "risk_band": _coded(predictions.risk_band, BANDS),
        **{f"reason_{number}": texts for number, texts in enumerate(predictions.row_reasons(), 1)},
        "dataset_split": _coded(split.codes, list(split.categories)),
        "is_mature": data.is_mature,
        "has_transaction": pa.array(data.label, mask=data.is_mature != 1),
    }
    return stamped(pa.table(columns), stamp, contract)


def _coded(codes: Codes, names: Sequence[str]) -> "pa.DictionaryArray":
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.string()))
