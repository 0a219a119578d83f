"""People to score: a file with the features of an experiment's file, read as they were read then."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.data.features import NONE
from ml.experiment.file_columns import SHOWN, value_counts
from ml.experiment.file_table import days_of, is_comma_file, numbers_of, plain, read_table, texts_of
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

NUMBER, DATE, FLAG, TEXT = "number", "date", "flag", "text"


@dataclass(frozen=True)
class FileFeature:
    """How a feature stood in the experiment's file.

    `kind` is number, date, flag or text. `levels` holds the values of a flag or text in their order; `may_lack` says
    whether a number or date was missing in some row.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    may_lack: bool = False


@dataclass(frozen=True)
class People:
    """Rows to score, in the file's order: `identity` holds row_number and visitor_id, `inputs` the features."""

    identity: "pa.Table"
    inputs: "pd.DataFrame"


def file_features(rows: "pa.Table", inputs: "pd.DataFrame") -> tuple[FileFeature, ...]:
    """Describe features as they stand in a file.

    Parameters
    ----------
    rows : pyarrow.Table
        The file's rows.
    inputs : DataFrame
        Features that were made of them.

    Returns
    -------
    tuple of FileFeature
        One per feature, in order.
    """
    import pyarrow as pa

    found = []
    for name, values in inputs.items():
        kind = rows.schema.field(str(name)).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if values.dtype == "category":
            found.append(
                FileFeature(str(name), FLAG if pa.types.is_boolean(kind) else TEXT, tuple(values.cat.categories))
            )
        else:
            is_date = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
            found.append(FileFeature(str(name), DATE if is_date else NUMBER, may_lack=bool(values.isna().any())))
    return tuple(found)


def read_people(path: Path, features: Sequence[FileFeature], words: Sequence[str], visitor: str | None) -> People:
    """Read people to score.

    Parameters
    ----------
    path : Path
        CSV or Parquet.
    features : sequence of FileFeature
        How the features stood in the experiment's file; other columns are left aside.
    words : sequence of str
        Texts that are never taken for a null, as then.
    visitor : str, optional
        Column that names who a row is about; where the file lacks it, rows are numbered.

    Returns
    -------
    People
        One row per row of the file.

    Raises
    ------
    FunneliftError
        With the file, the column and the first row, when the experiment could not have told what stands there.
    """
    import pandas as pd
    import pyarrow as pa

    texts = [feature.name for feature in features if feature.kind == TEXT]
    table = read_table(path, [*texts, *([] if visitor is None else [visitor])], words, what="file of people to score")
    missing = [feature.name for feature in features if feature.name not in table.column_names]
    if missing:
        raise FunneliftError(
            f"{path} has no column {', '.join(missing)}, which the model learnt from: its columns are "
            f"{', '.join(table.column_names)}"
        )
    values = {feature.name: _values(table.column(feature.name), path, feature) for feature in features}
    number = pa.chunked_array([np.arange(1, len(table) + 1)])
    named = visitor is not None and visitor in table.column_names
    ids = texts_of(table.column(visitor), path, str(visitor)) if named else number.cast(pa.string())
    return People(pa.table({"row_number": number, "visitor_id": ids}), pd.DataFrame(values))


def _values(column: "pa.ChunkedArray", path: Path, feature: FileFeature) -> "npt.NDArray[np.float32] | pd.Categorical":
    import pyarrow as pa

    column = plain(column, path, feature.name)
    if pa.types.is_null(column.type):
        column = column.cast(pa.string() if feature.levels else pa.float64())
    return _levels(column, path, feature) if feature.levels else _numbers(column, path, feature)


def _levels(column: "pa.ChunkedArray", path: Path, feature: FileFeature) -> "pd.Categorical":
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    is_flag = pa.types.is_boolean(column.type)
    if is_flag != (feature.kind == FLAG) and column.null_count < len(column):
        raise _wrong_kind(column, path, feature)
    texts = pc.fill_null(column.cast(pa.string()), NONE)
    unknown = pc.invert(pc.is_in(texts, pa.array(feature.levels)))
    if pc.any(unknown).as_py():
        counts = value_counts(texts.filter(unknown))
        told = ", ".join(
            f"{'nothing' if level == NONE else repr(level)} ({rows:,} rows)"
            for level, rows in list(counts.items())[:SHOWN]
        )
        raise FunneliftError(
            f"{path}: column {feature.name} holds what no row of the experiment held: {told}, first in data row "
            f"{pc.index(unknown, True).as_py() + 1}. It held {', '.join(map(repr, feature.levels[:SHOWN]))}"
            f"{' …' if len(feature.levels) > SHOWN else ''}. What the treatment does to such people was not tested: "
            "correct these rows, or take them out"
        )
    return pd.Categorical(texts.to_pandas(), categories=list(feature.levels))


def _numbers(column: "pa.ChunkedArray", path: Path, feature: FileFeature) -> "npt.NDArray[np.float32]":
    import pandas as pd
    import pyarrow as pa

    kind = column.type
    is_date = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    is_empty = column.null_count == len(column)
    if is_date:
        numbers = days_of(column)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        read = numbers_of(column, is_listed=is_comma_file(path))
        texts = (column if read is None else read).to_pandas()
        numbers = np.asarray(pd.to_numeric(texts, errors="coerce").to_numpy(np.float64))
        bad = np.isnan(numbers) & column.is_valid().to_numpy()
        if bad.any():
            raise _wrong_kind(column.filter(pa.array(bad)), path, feature, row=int(np.argmax(bad)) + 1)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = column.cast(pa.float64(), safe=False).to_numpy()
    else:
        raise _wrong_kind(column, path, feature)
    if is_date != (feature.kind == DATE) and not is_empty:
        raise _wrong_kind(column, path, feature)
    with np.errstate(over="ignore"):
        found = numbers.astype(np.float32)
    _refuse_gaps(found, path, feature)
    return found


def _refuse_gaps(numbers: Floats | npt.NDArray[np.float32], path: Path, feature: FileFeature) -> None:
    for bad, what in (
        (np.isinf(numbers), "is infinite"),
        (np.isnan(numbers) & (not feature.may_lack), "holds nothing, but in the experiment every row had a value"),
    ):
        if bad.any():
            raise FunneliftError(
                f"{path}: column {feature.name} {what}: {int(bad.sum()):,} rows, first data row "
                f"{int(np.argmax(bad)) + 1}. Fill them in, or take these rows out"
            )


def _wrong_kind(column: "pa.ChunkedArray", path: Path, feature: FileFeature, row: int | None = None) -> FunneliftError:
    import pyarrow.compute as pc

    first = row or pc.index(column.is_valid(), True).as_py() + 1
    value = column.filter(column.is_valid())[0].as_py()
    wanted = {NUMBER: "numbers", DATE: "dates", FLAG: "true and false", TEXT: "texts"}[feature.kind]
    return FunneliftError(
        f"{path}: column {feature.name} must hold {wanted}, as in the experiment, but data row {first} holds "
        f"{str(value)!r} ({column.type})"
    )
