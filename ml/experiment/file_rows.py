"""Rows of a file: which take part, in an order that says nothing, and which stand there twice."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats, Rows
from ml.data.rows import to_codes
from ml.experiment.simulated import hash_shares
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Experiment platforms leave people in both arms out, and stop from about this share of them on.
HIGHEST_SHARE_IN_BOTH = 0.01
TOLERATED_IN_BOTH = 3
# How much more often rows repeat than columns that had nothing to do with each other would.
BEYOND_CHANCE = 100
REPEATS_TOLD, REPEATS_REFUSED = 0.01, 0.5


@dataclass(frozen=True)
class Order:
    """An order of rows that their place in the file has no part in.

    `rows` are positions in the file's order; `key` names each row's unit, in the same order as `rows`.
    """

    rows: Rows
    key: "pa.ChunkedArray"


def in_both_arms(ids: "pa.ChunkedArray", arm: Codes, column: str) -> npt.NDArray[np.bool_]:
    """Mark the rows of units that are in both arms.

    Parameters
    ----------
    ids : pyarrow.ChunkedArray of shape (n_rows,)
        The unit of each row.
    arm : ndarray of shape (n_rows,)
        Code of the arm, 0 for the control.
    column : str
        Name of the column of units.

    Returns
    -------
    ndarray of shape (n_rows,)
        True for rows to leave out.

    Raises
    ------
    FunneliftError
        When there are more of them than slips explain.
    """
    unit = to_codes(ids)
    first = np.empty(int(unit.max(initial=-1)) + 1, dtype=arm.dtype)
    first[unit[::-1]] = arm[::-1]
    both = np.bincount(unit, arm != first[unit]) > 0
    if both.sum() > max(TOLERATED_IN_BOTH, HIGHEST_SHARE_IN_BOTH * len(both)):
        raise FunneliftError(
            f"{both.sum():,} of {len(both):,} values of {column} are in both arms, more than "
            f"{HIGHEST_SHARE_IN_BOTH:.0%}, but one visitor has one arm: name the column that was randomised "
            f"(--visitor-column). If both arms were drawn within each value, it is a stratum (--stratum-column "
            f"{column})"
        )
    return np.asarray(both[unit])


def ordered(
    ids: "pa.ChunkedArray | None", inputs: "pd.DataFrame", arm: Codes, outcome: Floats, value: Floats | None = None
) -> Order:
    """Order rows by hashes of their unit and of what they hold, so that the file's order has no part in any result.

    Parameters
    ----------
    ids : pyarrow.ChunkedArray of shape (n_rows,), optional
        The unit of each row; without it a row is named by what it holds, and by a number where others hold the same.
    inputs : DataFrame
        Features.
    arm, outcome : ndarray of shape (n_rows,)
        The rest of what a row holds.
    value : ndarray of shape (n_rows,), optional
        The money that it brought.

    Returns
    -------
    Order
        The order.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    rest = {"\0arm": arm.astype(np.float64), "\0outcome": outcome}
    if value is not None:
        rest["\0value"] = value
    if ids is not None:
        # Else the first row of each unit would be of the same kind wherever an arm has it.
        rest["\0unit"] = hash_shares("order:", ids)
    content = pd.util.hash_pandas_object(inputs.assign(**rest), index=False).to_numpy()
    if ids is None:
        again, plain = pa.array(pd.Series(content).duplicated()), pa.array(content).cast(pa.string())
        key = pa.chunked_array([pc.if_else(again, _numbered(content), plain)])
    else:
        key = ids
    rows = np.lexsort((content, hash_shares("order:", key) if ids is None else rest["\0unit"]))
    return Order(rows, key.take(pa.array(rows)))


def tie_breakers(inputs: "pd.DataFrame", seed: int) -> Floats:
    """Draw a number for each row by its features, so that the same people are ranked alike in every file.

    Rows that look alike get different numbers: as many of them fall on either side of a threshold as the numbers say.

    Parameters
    ----------
    inputs : DataFrame
        Features.
    seed : int
        Another one draws other numbers.

    Returns
    -------
    ndarray of shape (n_rows,)
        From 0 to 1.
    """
    import pandas as pd
    import pyarrow as pa

    content = pd.util.hash_pandas_object(inputs, index=False).to_numpy()
    return hash_shares(f"{seed}:rank:", pa.chunked_array([_numbered(content)]))


def _numbered(content: npt.NDArray[np.integer[Any]]) -> "pa.Array":
    """Name rows by what they hold and how many before hold the same, so that no hash of it puts these together."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pd.Series(content)
    texts = [pa.array(part).cast(pa.string()) for part in (rows, rows.groupby(rows).cumcount())]
    return pc.binary_join_element_wise(*texts, ":")


def repeated(table: "pa.Table", *, has_unit: bool) -> list[str]:
    """Say how many rows stand in a file several times, where that is more than chance makes.

    Parameters
    ----------
    table : pyarrow.Table
        All columns of the rows that take part.
    has_unit : bool
        Whether a column names the unit that was drawn: then copies of a row are no new units.

    Returns
    -------
    list of str
        One sentence, or none.

    Raises
    ------
    FunneliftError
        When half of the rows or more are copies and each would count as a unit of its own.
    """
    import pandas as pd
    import pyarrow as pa

    frame = table.select([field.name for field in table.schema if not pa.types.is_nested(field.type)]).to_pandas()
    counts = pd.Series(pd.util.hash_pandas_object(frame, index=False).to_numpy()).value_counts().to_numpy(np.float64)
    rows = len(frame)
    copies, pairs = rows - len(counts), float((counts * (counts - 1)).sum() / 2)
    alike = np.prod([float((frame[column].value_counts(normalize=True, dropna=False) ** 2).sum()) for column in frame])
    if copies < REPEATS_TOLD * rows or pairs < BEYOND_CHANCE * alike * rows * (rows - 1) / 2:
        return []
    told = f"{copies:,} of {rows:,} rows are copies: the same as another row in every column"
    cause = "If a join made them, every copy counts as a new observation and intervals are too narrow"
    if not has_unit and copies >= REPEATS_REFUSED * rows:
        raise FunneliftError(
            f"{told}. {cause}: keep one row per unit, or name the unit (--visitor-column), whose rows then count "
            "together"
        )
    return [f"{told}. {cause}: keep one of each"]
