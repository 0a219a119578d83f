"""Columns of a file as arms, outcomes and features."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Rows
from ml.data.features import NONE
from ml.experiment.experiment import ARM_NAMES
from ml.experiment.file_table import WHOLE, plain
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SHOWN = 10  # values that a message lists
BINARY = {"0": 0, "1": 1, "false": 0, "true": 1}


def arms_of(texts: "pa.ChunkedArray", column: str, treated: str | None, control: str | None) -> Codes:
    """Return the arm of each row: 1 treated, 0 control, -1 for another value of the treatment column.

    Parameters
    ----------
    texts : pyarrow.ChunkedArray of shape (n_rows,)
        The treatment column.
    column : str
        Its name.
    treated, control : str, optional
        Its values for the arms; without them it must hold 0 and 1.

    Returns
    -------
    ndarray of shape (n_rows,)
        The arms.

    Raises
    ------
    FunneliftError
        When there are other values, or an arm has no row.
    """
    encoded = texts.combine_chunks().dictionary_encode()
    levels = encoded.dictionary.to_pylist()
    there = ", ".join(f"{value!r} ({count:,} rows)" for value, count in list(value_counts(texts).items())[:SHOWN])
    if treated is None or control is None:
        arm_of = [BINARY.get(level.lower(), -1) for level in levels]
        if -1 in arm_of:
            raise FunneliftError(
                f"treatment column {column} holds {len(levels)} values, not only 0 and 1: {there}. Say which are the "
                "arms (--treated VALUE --control VALUE); other rows are left out"
            )
    else:
        values = {WHOLE.sub(r"\1", value.strip()): arm for value, arm in ((treated, 1), (control, 0))}
        arm_of = [values.get(level, -1) for level in levels]
    for number, name in ARM_NAMES.items():
        if number not in arm_of:
            raise FunneliftError(f"treatment column {column} has one arm only, no {name} row: it holds {there}")
    return np.asarray(np.array(arm_of, dtype=np.int8)[encoded.indices.to_numpy()])


def value_counts(texts: "pa.ChunkedArray") -> dict[str, int]:
    """Count the rows of each value, the most frequent first."""
    import pyarrow.compute as pc

    counts = {entry["values"]: int(entry["counts"]) for entry in pc.value_counts(texts).to_pylist()}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def outcomes_of(texts: "pa.ChunkedArray", rows: Rows, column: str) -> Codes:
    """Return outcomes, 0 or 1, as written in a column; `rows` are their positions in the file, for the message."""
    encoded = texts.combine_chunks().dictionary_encode()
    levels = encoded.dictionary.to_pylist()
    value_of = np.array([BINARY.get(level.lower(), -1) for level in levels], dtype=np.int8)
    outcome = np.asarray(value_of[encoded.indices.to_numpy()])
    bad = np.flatnonzero(outcome < 0)
    if len(bad):
        values = [level for level in levels if level.lower() not in BINARY]
        raise FunneliftError(
            f"outcome column {column} must hold 0 and 1 (or false and true), but {len(bad)} rows hold something else: "
            f"{', '.join(map(repr, values[:SHOWN]))}{' …' if len(values) > SHOWN else ''}, first in data row "
            f"{rows[bad[0]] + 1}. Take a yes-or-no outcome"
        )
    return outcome


def feature_values(
    column: "pa.ChunkedArray", path: Path, name: str
) -> "npt.NDArray[np.float32] | pd.Categorical | str":
    """Return a column's values as a feature, or why it is none."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    column = plain(column, path, name)
    kind = column.type
    if column.null_count == len(column):
        return "empty"
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = column.cast(pa.string())
        distinct = pc.count_distinct(text).as_py()
        if distinct > len(text) / 2:
            return f"an id: {distinct:,} different texts in {len(text):,} rows"
        values = pd.Categorical(pc.fill_null(text, NONE).to_pandas())
        return "the same in all rows" if len(values.categories) == 1 else values
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        days = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).cast(pa.float64())
        column = pc.divide(days, 86_400_000.0)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return f"neither number, text nor date: {kind}"
    with np.errstate(over="ignore"):
        numbers = column.cast(pa.float64(), safe=False).to_numpy().astype(np.float32)
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        raise FunneliftError(
            f"{path}: column {name} has {infinite} infinite values: correct them, or ignore the column"
        )
    is_constant = not np.isnan(numbers).any() and numbers.min() == numbers.max()
    return "the same in all rows" if is_constant or np.isnan(numbers).all() else numbers
