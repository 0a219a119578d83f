"""Rows of the feature mart as compact, ordered model inputs."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Rows
from ml.data.features import IDENTITY, MART, NONE, STATUSES, Mart
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TEXTS = ("session_id", "visitor_id", "decided_at")


@dataclass(frozen=True)
class Dataset:
    """Rows of the feature mart, ordered by (decided_ms, session_id, decision_point).

    `identity` holds the id columns as Arrow; `inputs` the features (float32 and categories, nulls of a
    category as its own level); the arrays hold one value per row, -1 for a null, which the gate refuses. Rows before
    `plausible_from_ms` have an implausible time.
    """

    identity: "pa.Table"
    inputs: "pd.DataFrame"
    label: npt.NDArray[np.int8]
    decided_ms: npt.NDArray[np.int64]
    is_mature: npt.NDArray[np.int8]
    is_new_visitor: npt.NDArray[np.int8]
    visitor: npt.NDArray[np.int32]
    plausible_from_ms: int = 0

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
        One row per session and decision point.

    Raises
    ------
    FunneliftError
        When another number of rows came.
    """
    columns = _Columns(rows, mart)
    for batch in batches:
        columns.add(batch)
    if columns.filled != rows:
        raise FunneliftError(f"{MART} shrank while it was read: expected {rows} rows, got {columns.filled}. Run again")
    if not rows:
        raise FunneliftError(
            f"{MART} is empty: no session reaches a decision point before it buys. Load such events with `python -m "
            "ingest load`, then run `dbt build`"
        )
    return columns.in_order()


class _Columns:
    """Columns of the mart in the order in which they arrive, in little memory."""

    def __init__(self, rows: int, mart: Mart) -> None:
        self.mart, self.filled = mart, 0
        self.numbers = np.empty((len(mart.numeric), rows), dtype=np.float32)
        self.decided_ms = np.empty(rows, dtype=np.int64)
        self.flags = np.empty((3, rows), dtype=np.int8)
        self.texts: list[pa.RecordBatch] = []
        self.categories: dict[str, list[pa.DictionaryArray]] = {name: [] for name in mart.categorical}

    def add(self, batch: "pa.RecordBatch") -> None:
        """Take the columns out of a batch."""
        import pyarrow as pa
        import pyarrow.compute as pc

        start, end = self.filled, self.filled + batch.num_rows
        if end > len(self.decided_ms):
            raise FunneliftError(f"{MART} grew while it was read: expected {len(self.decided_ms)} rows. Run again")
        for number, name in zip(self.numbers, self.mart.numeric, strict=True):
            number[start:end] = _to_float32(batch.column(name))
        for flag, name in zip(self.flags, (self.mart.label, *STATUSES), strict=True):
            flag[start:end] = pc.fill_null(batch.column(name).cast(pa.int8()), -1)
        self.decided_ms[start:end] = pc.fill_null(batch.column("decided_ms"), -1)
        for name, parts in self.categories.items():
            parts.append(pc.fill_null(batch.column(name), NONE).dictionary_encode())
        # Taking copies the rows; a selection would keep the engine's whole batch, all columns of it, in memory.
        everyone = pa.array(np.arange(batch.num_rows))
        self.texts.append(batch.select(list(TEXTS)).take(everyone))
        self.filled = end

    def in_order(self) -> Dataset:
        """Put the rows in order of time; the columns are emptied to save memory."""
        import pandas as pd
        import pyarrow as pa

        texts = dict(zip(TEXTS, pa.Table.from_batches(self.texts).columns, strict=True))
        self.texts.clear()
        points = _to_categories(self.categories.pop("decision_point"))
        order = _time_order(self.decided_ms, texts["session_id"], points.codes)
        # One column at a time: the whole matrix twice would be the largest thing in memory, and the texts come next.
        for row in self.numbers:
            row[:] = row[order]
        inputs = pd.DataFrame(self.numbers.T, columns=self.mart.numeric, copy=False)
        points = points.take(order)
        for name in self.mart.categorical:
            known = name == "decision_point"
            inputs[name] = points if known else _to_categories(self.categories.pop(name)).take(order)
        places = pa.array(order)
        table = pa.table({name: texts.pop(name).take(places) for name in TEXTS})
        levels = pa.array(points.categories.tolist(), pa.string())
        coded = pa.DictionaryArray.from_arrays(points.codes.astype(np.int32), levels)
        label, is_mature, is_new_visitor = self.flags[:, order]
        return Dataset(
            identity=table.append_column("decision_point", coded).select(list(IDENTITY)),
            inputs=inputs,
            label=label,
            decided_ms=self.decided_ms[order],
            is_mature=is_mature,
            is_new_visitor=is_new_visitor,
            visitor=to_codes(table.column("visitor_id")),
        )


def _time_order(decided_ms: npt.NDArray[np.int64], session_id: "pa.ChunkedArray", point: Codes) -> Rows:
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = pa.table({"ms": decided_ms, "session": session_id, "point": point})
    return np.asarray(pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]).to_numpy())


def to_codes(column: "pa.ChunkedArray") -> npt.NDArray[np.int32]:
    """Number the distinct texts of a column in order of first appearance.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        Texts.

    Returns
    -------
    ndarray of shape (n_rows,)
        One number per row, from 0 on.
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
    rows : ndarray of int
        Positions, ascending.

    Returns
    -------
    Dataset
        These rows, visitors numbered as before.
    """
    import pyarrow as pa

    return replace(
        data,
        identity=data.identity.take(pa.array(rows)),
        inputs=data.inputs.iloc[rows].reset_index(drop=True),
        label=data.label[rows],
        decided_ms=data.decided_ms[rows],
        is_mature=data.is_mature[rows],
        is_new_visitor=data.is_new_visitor[rows],
        visitor=data.visitor[rows],
    )
