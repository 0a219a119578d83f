"""Strata and chances of treatment, as a file tells them."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows
from ml.data.rows import to_codes
from ml.experiment.file_table import numbers_of
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa


def chances_of(texts: "pa.ChunkedArray", rows: Rows, column: str, *, is_listed: bool) -> Floats:
    """Return chances of treatment as written in a column; `rows` are their positions in the file, for the message."""
    import pandas as pd

    numbers = numbers_of(texts, is_listed=is_listed)
    found = pd.to_numeric((texts if numbers is None else numbers).to_pandas(), errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~((found > 0) & (found < 1)))
    if len(bad):
        raise FunneliftError(
            f"propensity column {column} must hold chances between 0 and 1, but {len(bad)} rows hold something else, "
            f"first {texts[int(bad[0])].as_py()!r} in data row {rows[bad[0]] + 1}: leave out whoever was sure of an arm"
        )
    return np.asarray(found)


def one_per_unit(ids: "pa.ChunkedArray", column: str | None, values: npt.NDArray[np.generic] | None) -> None:
    """Refuse units whose rows differ in their stratum or chance of treatment."""
    if values is None:
        return
    units = to_codes(ids)
    first = np.empty(int(units.max()) + 1, dtype=values.dtype)
    first[units[::-1]] = values[::-1]
    differ = len(np.unique(units[first[units] != values]))
    if differ:
        raise FunneliftError(f"{differ:,} units have several values of {column}: a unit is drawn once, in one stratum")
