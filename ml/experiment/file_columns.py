"""Columns of a file as arms, outcomes and features."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats, Rows
from ml.data.features import NONE
from ml.experiment.experiment import ARM_NAMES
from ml.experiment.file_table import WHOLE, days_of, numbers_of, plain
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SHOWN = 10  # values that a message lists
BINARY = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1, "n": 0, "y": 1, "f": 0, "t": 1}
FEWEST_IDS = 50
FEWEST_LEVELS = 10
ID_NAME = re.compile(
    r"(^|[^A-Za-z])(?i:id|key|uuid|guid|no|nr|number)s?$|[a-z]I[dD]$"
    r"|^(?i:x|#|obs|observation|case|record|seq|sequence|customer|user|visitor|client|member|account|person|subject)$"
)
ARM_WORDS = BINARY | {"control": 0, "treatment": 1, "treated": 1}
# A 1 in a column of this name most often means: kept without the treatment.
CONTROL_NAME = re.compile(
    r"(^|_)(hold_?out|held_?(out|back)|kept_?(out|back)|hold_?back|with_?held|controls?|placebo|baseline|suppress(ed|ion)?|"
    r"excluded?|exclusion|untreated|unexposed|blocked|skipped|no|not|non|without)(_|$)"
)
# What programs call the numbers that they give rows.
ROW_NUMBERS = re.compile(
    r"(__index_level_\d+__|"
    r"unnamed[:. _]*\d+|index|idx|level_\d+|row[_ .]?(id|no|nr|num|number|names?|index)?|\d+ \(without a name\))",
    re.IGNORECASE,
)


def arms_of(texts: "pa.ChunkedArray", column: str, treated: Sequence[str] | None, control: str | None) -> Codes:
    """Return the arm of each row: 0 control, treatments from 1 on, -1 for another value of the treatment column.

    Parameters
    ----------
    texts : pyarrow.ChunkedArray of shape (n_rows,)
        The treatment column.
    column : str
        Its name.
    treated : sequence of str, optional
        Its values for the treatments, in capitals or not; without them it must hold 0 and 1, or words for them.
    control : str, optional
        Its value for the control.

    Returns
    -------
    ndarray of shape (n_rows,)
        The arms.

    Raises
    ------
    FunneliftError
        When there are other values, an arm has no row, or the column's name says that 1 may be the control.
    """
    encoded = texts.combine_chunks().dictionary_encode()
    levels = encoded.dictionary.to_pylist()
    there = ", ".join(f"{value!r} ({count:,} rows)" for value, count in list(value_counts(texts).items())[:SHOWN])
    if treated is None or control is None:
        arm_of = [ARM_WORDS.get(level.casefold(), -1) for level in levels]
        if -1 in arm_of:
            raise FunneliftError(
                f"treatment column {column} holds {len(levels)} values, not only 0 and 1: {there}. Say which are the "
                "arms (--treated VALUE --control VALUE); other rows are left out"
            )
        if CONTROL_NAME.search(_in_words(column)) and all(level.casefold() in BINARY for level in levels):
            raise FunneliftError(
                f"treatment column {column} sounds as if 1 were the control: it holds {there}. Say which value is "
                "which (--treated VALUE --control VALUE)"
            )
    else:
        values = {written(value): arm for arm, value in enumerate((control, *treated))}
        arm_of = [values.get(level.casefold(), -1) for level in levels]
        if len(treated) > 1:
            missing = [repr(value) for value in (control, *treated) if values[written(value)] not in arm_of]
            if missing:
                raise FunneliftError(f"treatment column {column} has no row of {', '.join(missing)}: it holds {there}")
    for number, name in ARM_NAMES.items():
        if number not in arm_of:
            raise FunneliftError(f"treatment column {column} has one arm only, no {name} row: it holds {there}")
    return np.asarray(np.array(arm_of, dtype=np.int8)[encoded.indices.to_numpy()])


def _in_words(name: str) -> str:
    """Return a column's name in small letters, its words apart by underscores: is_control for isControl."""
    return re.sub(r"[^a-z]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold())


def value_counts(texts: "pa.ChunkedArray") -> dict[str, int]:
    """Count the rows of each value, the most frequent first."""
    import pyarrow.compute as pc

    counts = {entry["values"]: int(entry["counts"]) for entry in pc.value_counts(texts).to_pylist()}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def written(value: str) -> str:
    """Return a value as cells are compared with it: trimmed, no capitals, whole numbers without decimals."""
    return WHOLE.sub(r"\1", value.strip()).casefold()


def spellings(texts: "pa.ChunkedArray", arm: Codes, names: Mapping[int, str]) -> list[str]:
    """Say which spellings were taken for one arm, where there are several."""
    import pyarrow as pa

    told = []
    for number, name in (names if len(names) > len(ARM_NAMES) else ARM_NAMES).items():
        counts = value_counts(texts.filter(pa.array(arm == number)))
        if len(counts) > 1:
            each = ", ".join(f"{value!r} ({count:,} rows)" for value, count in counts.items())
            told.append(f"The {name} arm is written in several ways, taken as one: {each}.")
    return told


def outcomes_of(texts: "pa.ChunkedArray", rows: Rows, column: str, *, is_listed: bool, without: int = 0) -> Floats:
    """Return outcomes: 0 and 1, or words for them, or amounts; `rows` are their positions in the file.

    Parameters
    ----------
    texts : pyarrow.ChunkedArray of shape (n_rows,)
        The outcome column, without nulls.
    rows : ndarray of shape (n_rows,)
        Positions in the file, for the message.
    column : str
        Its name.
    is_listed : bool
        Whether commas part the file's columns.
    without : int
        How many rows were left out because they have none, for the message.

    Returns
    -------
    ndarray of shape (n_rows,)
        The outcomes.

    Raises
    ------
    FunneliftError
        When there is something else, all outcomes are the same, or a yes or no is coded by other numbers.
    """
    encoded = texts.combine_chunks().dictionary_encode()
    levels = encoded.dictionary.to_pylist()
    value_of = np.array([BINARY.get(level.casefold(), np.nan) for level in levels])
    if np.isnan(value_of).any():
        value_of = _amounts(encoded.dictionary, is_listed=is_listed)
    outcome = np.asarray(value_of[encoded.indices.to_numpy()])
    bad = np.flatnonzero(~np.isfinite(outcome))
    if len(bad):
        values = [level for level, value in zip(levels, value_of, strict=True) if not np.isfinite(value)]
        raise FunneliftError(
            f"outcome column {column} must hold 0 and 1 (or false and true), or amounts, but {len(bad)} rows hold "
            f"something else: {', '.join(map(repr, values[:SHOWN]))}{' …' if len(values) > SHOWN else ''}, first in "
            f"data row {rows[bad[0]] + 1}. Take a yes-or-no outcome"
        )
    if outcome.min() == outcome.max():
        blanks = f" but {without:,} that have none" if without else ""
        remedy = "Take an outcome that happens more often, or wait for more data"
        raise FunneliftError(
            f"outcome column {column} is {outcome[0]:g} in all rows{blanks}: there is nothing to compare. "
            f"{'Write 0 where a blank says no' if without else remedy}"
        )
    two = np.unique(outcome)
    if len(two) == 2 and two[0] != 0:
        raise FunneliftError(
            f"outcome column {column} holds only {two[0]:g} and {two[1]:g}: a yes or no is written as 0 and 1, and of "
            "amounts there are more. Write 0 and 1"
        )
    return outcome


def money_of(texts: "pa.ChunkedArray", rows: Rows, column: str, *, is_listed: bool) -> Floats:
    """Return amounts of money, none of them below 0; `rows` are their positions in the file.

    Parameters
    ----------
    texts : pyarrow.ChunkedArray of shape (n_rows,)
        The column, null where there is nothing.
    rows : ndarray of shape (n_rows,)
        Positions in the file, for the message.
    column : str
        Its name.
    is_listed : bool
        Whether commas part the file's columns.

    Returns
    -------
    ndarray of shape (n_rows,)
        The amounts.

    Raises
    ------
    FunneliftError
        With the first row that holds no amount, or when all amounts are the same.
    """
    encoded = texts.combine_chunks().dictionary_encode()
    of_level = _amounts(encoded.dictionary, is_listed=is_listed)
    codes = encoded.indices.fill_null(-1).to_numpy()
    value = np.where(codes < 0, np.nan, np.append(of_level, np.nan)[codes])
    bad = np.flatnonzero(~(np.isfinite(value) & (value >= 0)))
    if len(bad):
        first = texts[int(bad[0])].as_py()
        raise FunneliftError(
            f"value column {column} must hold amounts of 0 or more, but {len(bad):,} rows hold something else, first "
            f"{'nothing' if first is None else repr(first)} in data row {rows[bad[0]] + 1}. Write 0 where nothing was "
            "bought, and take what was returned off the sale"
        )
    if value.min() == value.max():
        raise FunneliftError(f"value column {column} is {value[0]:g} in all rows: there is nothing to compare")
    return np.asarray(value)


def _amounts(levels: "pa.Array", *, is_listed: bool) -> Floats:
    import pandas as pd
    import pyarrow as pa

    numbers = numbers_of(pa.chunked_array([levels]), is_listed=is_listed)
    found = levels.to_pandas() if numbers is None else numbers.to_pandas()
    return np.asarray(pd.to_numeric(found, errors="coerce").to_numpy(np.float64))


def row_numbers(column: "pa.ChunkedArray", name: str) -> str | None:
    """Return why a column is the number of a row, or an id, and no feature; None where it is not.

    Parameters
    ----------
    column : pyarrow.ChunkedArray of shape (n_rows,)
        All rows of the file.
    name : str
        Its name.

    Returns
    -------
    str or None
        The reason.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, rows = column.type, len(column)
    if pa.types.is_floating(kind) and column.null_count == 0 and pc.all(pc.equal(column, pc.floor(column))).as_py():
        column, kind = column.cast(pa.int64(), safe=False), pa.int64()
    if not pa.types.is_integer(kind) or column.null_count == rows:
        return None
    if ROW_NUMBERS.fullmatch(name):
        return "it numbers rows"
    lowest, highest = pc.min_max(column).as_py().values()
    distinct = pc.count_distinct(column).as_py()
    if distinct >= FEWEST_IDS and distinct == highest - lowest + 1 and rows % distinct == 0 and distinct > rows / SHOWN:
        # Ages and scores have gaps, or repeat unevenly; numbers that were given one by one have neither.
        counts = pc.value_counts(column.combine_chunks()).field("counts")
        if pc.min(counts).as_py() == pc.max(counts).as_py():
            return f"numbers without a gap, {lowest:,} to {highest:,}, each as often: they name rows"
    if ID_NAME.search(name) and distinct > rows / 2:
        return f"an id: {distinct:,} different numbers in {rows:,} rows"
    return None


def feature_values(
    column: "pa.ChunkedArray", path: Path, name: str, *, units: int, is_listed: bool
) -> "npt.NDArray[np.float32] | pd.Categorical | str":
    """Return a column's values as a feature, or why it is none; `units` counts what was drawn."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    column = plain(column, path, name)
    kind = column.type
    if column.null_count == len(column):
        return "empty"
    if pa.types.is_string(kind) and (numbers := numbers_of(column, is_listed=is_listed)) is not None:
        column, kind = numbers, numbers.type
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = column.cast(pa.string())
        distinct = pc.count_distinct(text).as_py()
        if distinct > units / 2 and distinct > FEWEST_LEVELS:
            return f"an id: {distinct:,} different texts in {len(text):,} rows"
        values = pd.Categorical(pc.fill_null(text, NONE).to_pandas())
        return "the same in all rows" if len(values.categories) == 1 else values
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        column = pa.chunked_array([days_of(column)])
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
