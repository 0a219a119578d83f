"""Rows of the feature mart as compact, ordered model inputs."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.data.features import IDENTITY, MART, NONE, STATUSES, Mart
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Dataset:
    """Rows of the feature mart, ordered by (decided_ms, session_id, decision_point).

    `identity` holds the id columns as Arrow; `inputs` the features (float32 and categories, nulls of a
    category as its own level); the arrays hold one value a row, -1 for a null, which the gate refuses.
    """

    identity: "pa.Table"
    inputs: "pd.DataFrame"
    label: npt.NDArray[np.int8]
    decided_ms: npt.NDArray[np.int64]
    is_mature: npt.NDArray[np.int8]
    is_new_visitor: npt.NDArray[np.int8]
    visitor: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def decision_point(self) -> "pd.Categorical":
        """Decision point of each row."""
        points: pd.Categorical = self.inputs["decision_point"].array
        return points

    def fingerprint(self) -> str:
        """Return a SHA-256 over everything a model can learn from."""
        digest = hashlib.sha256()
        for array in (self.decided_ms, self.label, self.is_mature, self.visitor):
            digest.update(array.tobytes())
        for name, column in self.inputs.items():
            digest.update(str(name).encode())
            if column.dtype == "category":
                digest.update("\0".join(column.cat.categories).encode())
                digest.update(column.cat.codes.to_numpy().tobytes())
            else:
                digest.update(np.ascontiguousarray(column.to_numpy()).data)
        return digest.hexdigest()


def build_dataset(batches: Iterable["pa.RecordBatch"], rows: int, mart: Mart) -> Dataset:
    """Turn Arrow batches of the mart into compact, ordered model inputs.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        All rows, in any order.
    rows : int
        How many rows will come.
    mart : Mart
        Roles of the columns.

    Returns
    -------
    Dataset
        One row a session and decision point.

    Raises
    ------
    FunneliftError
        When another number of rows came.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = np.empty((len(mart.numeric), rows), dtype=np.float32)
    decided_ms = np.empty(rows, dtype=np.int64)
    flags = np.empty((3, rows), dtype=np.int8)
    texts: list[pa.RecordBatch] = []
    categories: dict[str, list[pa.DictionaryArray]] = {name: [] for name in mart.categorical}
    filled = 0
    for batch in batches:
        end = filled + batch.num_rows
        if end > rows:
            raise FunneliftError(f"{MART} grew while it was read: expected {rows} rows. Run again")
        for target, name in zip(numbers, mart.numeric, strict=True):
            target[filled:end] = _to_float32(batch.column(name))
        for flag, name in zip(flags, (mart.label, *STATUSES), strict=True):
            flag[filled:end] = pc.fill_null(batch.column(name).cast(pa.int8()), -1)
        decided_ms[filled:end] = pc.fill_null(batch.column("decided_ms"), -1)
        for name, parts in categories.items():
            parts.append(pc.fill_null(batch.column(name), NONE).dictionary_encode())
        # Taking copies the rows; a selection would keep the engine's whole batch, all columns of it, in memory.
        texts.append(batch.select(["session_id", "visitor_id", "decided_at"]).take(pa.array(np.arange(batch.num_rows))))
        filled = end
    if filled != rows:
        raise FunneliftError(f"{MART} shrank while it was read: expected {rows} rows, got {filled}. Run again")
    if not rows:
        raise FunneliftError(f"{MART} is empty: load events with `python -m ingest load`, then run `dbt build`")

    table = pa.Table.from_batches(texts)
    points = _to_categories(categories.pop("decision_point"))
    keys = pa.table({"ms": decided_ms, "session": table.column("session_id"), "point": points.codes})
    positions = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]).to_numpy()
    # One column at a time: the whole matrix twice would be the largest thing in memory.
    for row in numbers:
        row[:] = row[positions]
    inputs = pd.DataFrame(numbers.T, columns=mart.numeric, copy=False)
    points = points.take(positions)
    for name in mart.categorical:
        inputs[name] = points if name == "decision_point" else _to_categories(categories.pop(name)).take(positions)
    del texts, keys
    table = table.take(pa.array(positions))
    levels = pa.array(points.categories.tolist(), pa.string())
    table = table.append_column("decision_point", pa.DictionaryArray.from_arrays(points.codes.astype(np.int32), levels))
    flags = flags[:, positions]
    return Dataset(
        identity=table.select(list(IDENTITY)),
        inputs=inputs,
        label=flags[0],
        decided_ms=decided_ms[positions],
        is_mature=flags[1],
        is_new_visitor=flags[2],
        visitor=to_codes(table.column("visitor_id")),
    )


def to_codes(column: "pa.ChunkedArray") -> npt.NDArray[np.int32]:
    """Number the different texts of a column in the order in which they first come.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        Texts.

    Returns
    -------
    array of int
        One number a row, from 0 on.
    """
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(column.combine_chunks(), NONE).dictionary_encode().indices.to_numpy())


def _to_float32(column: "pa.Array") -> npt.NDArray[np.float32]:
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32))


def _to_categories(parts: "list[pa.DictionaryArray]") -> "pd.Categorical":
    import pandas as pd
    import pyarrow as pa

    unified = pa.chunked_array(parts).unify_dictionaries()
    levels = np.array(unified.chunk(0).dictionary.to_pylist(), dtype=object)
    order = np.argsort(levels)
    rank = np.empty(len(levels), dtype=np.int32)
    rank[order] = np.arange(len(levels), dtype=np.int32)
    codes = np.concatenate([rank[chunk.indices.to_numpy()] for chunk in unified.chunks])
    coded: pd.Categorical = pd.Categorical.from_codes(codes, categories=pd.Index(levels[order]))
    return coded


def take(data: Dataset, rows: npt.NDArray[np.intp]) -> Dataset:
    """Return some rows of a data set.

    Parameters
    ----------
    data : Dataset
        Rows in order.
    rows : array of int
        Positions, ascending.

    Returns
    -------
    Dataset
        These rows, visitors numbered as before.
    """
    import pyarrow as pa

    return Dataset(
        identity=data.identity.take(pa.array(rows)),
        inputs=data.inputs.iloc[rows].reset_index(drop=True),
        label=data.label[rows],
        decided_ms=data.decided_ms[rows],
        is_mature=data.is_mature[rows],
        is_new_visitor=data.is_new_visitor[rows],
        visitor=data.visitor[rows],
    )
