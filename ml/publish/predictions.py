"""Rows of `conversion_predictions`, and their file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.arrays import Codes
from ml.conversion.bands import BANDS
from ml.conversion.predictions import Predictions
from ml.data.features import IDENTITY
from ml.publish.files import leave_out, write_csv
from ml.publish.tables import stamped
from ml.run import Stamp
from warehouse.base import Publication
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


def write_predictions(folder: Path, made: Publication, max_rows: int) -> None:
    """Write the rows as CSV, unless workers have them or there are too many for anybody to open the file.

    Parameters
    ----------
    folder : Path
        The run's staged files.
    made : Publication
        The rows of `conversion_predictions`.
    max_rows : int
        Most rows of a file.
    """
    path = folder / "predictions" / "conversion_predictions.csv"
    if made.place is None and made.row_count <= max_rows:
        write_csv(path, made.rows)
    else:
        leave_out(path)


def _coded(codes: Codes, names: Sequence[str]) -> "pa.DictionaryArray":
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.string()))
