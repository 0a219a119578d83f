"""Rows of the feature mart as compact, ordered model inputs."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Rows
from ml.data.features import IDENTITY, MART, NONE, STATUSES, Mart
from ml.data.numbers import Numbers
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TEXTS = ("session_id", "visitor_id", "decided_at")
# So many rows of a data set on disk are in memory at a time.
PART_ROWS = 200_000


@dataclass(frozen=True)
class Dataset:
    """Rows of the feature mart, ordered by (decided_ms, session_id, decision_point).

    `identity` holds the id columns as Arrow; `inputs` the features (float32 and categories, nulls of a
    category as its own level); the arrays hold one value per row, -1 for a null, which the gate refuses. Rows before
    `plausible_from_ms` have an implausible time. `numbers` is what the numeric features stand in, where that can be a
    file; `taken`, `parts` and `column` then keep few of them in memory.
    """

    identity: "pa.Table"
    inputs: "pd.DataFrame"
    label: npt.NDArray[np.int8]
    decided_ms: npt.NDArray[np.int64]
    is_mature: npt.NDArray[np.int8]
    is_new_visitor: npt.NDArray[np.int8]
    visitor: npt.NDArray[np.int32]
    plausible_from_ms: int = 0
    numbers: Numbers | None = None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def is_on_disk(self) -> bool:
        """Whether the numeric features are in a file."""
        return self.numbers is not None and self.numbers.is_on_disk

    def taken(self, rows: Rows) -> "pd.DataFrame":
        """Return the features of some rows, in memory.

        Parameters
        ----------
        rows : ndarray of int
            Positions.

        Returns
        -------
        DataFrame
            The rows in their order.
        """
        if self.numbers is None or not self.is_on_disk:
            return self.inputs.iloc[rows]
        import pandas as pd

        values = self.numbers.values
        found = np.empty((len(values), len(rows)), dtype=np.float32)
        for own, column in zip(found, values, strict=True):
            column.take(rows, out=own, mode="clip")
            self.numbers.let_go()
        taken = pd.DataFrame(found.T, columns=self.inputs.columns[: len(values)], index=rows, copy=False)
        for name in self.inputs.columns[len(values) :]:
            taken[name] = self.inputs[name].array.take(rows)
        return taken

    def parts(self, rows: Rows | None = None) -> "Iterator[pd.DataFrame]":
        """Yield the features of some rows, in parts that fit in memory.

        Parameters
        ----------
        rows : ndarray of int, optional
            Positions; all rows without it.

        Yields
        ------
        DataFrame
            The next rows; a data set in memory has one part.
        """
        if not self.is_on_disk:
            yield self.inputs if rows is None else self.inputs.iloc[rows]
            return
        for start in range(0, len(self) if rows is None else len(rows), PART_ROWS):
            end = start + PART_ROWS
            yield self.taken(np.arange(start, min(end, len(self))) if rows is None else rows[start:end])

    def columns(self) -> "Iterator[tuple[str, pd.Series]]":
        """Yield each feature with its values; only one that is looked at is in memory."""
        for name, column in self.inputs.items():
            yield str(name), column
            self.let_go()

    def let_go(self) -> None:
        """Take numeric features that are in a file out of memory."""
        if self.numbers is not None:
            self.numbers.let_go()

    @property
    def decision_point(self) -> "pd.Categorical":
        """Decision point of each row."""
        points: pd.Categorical = self.inputs["decision_point"].array
        return points

    def fingerprint(self, rows: Rows) -> str:
        """Return a SHA-256 over everything that a model can learn from some rows, whatever other rows there are.

        Parameters
        ----------
        rows : ndarray of int
            Positions, ascending.

        Returns
        -------
        str
            Hexadecimal digits.
        """
        digest = hashlib.sha256()
        own_rows = (self.decided_ms[rows], self.label[rows], self.is_mature[rows], renumbered(self.visitor[rows]))
        for array in own_rows:
            digest.update(array.tobytes())
        for name, column in self.columns():
            digest.update(name.encode())
            if column.dtype == "category":
                own = column.array.take(rows).remove_unused_categories()
                digest.update("\0".join(own.categories).encode())
                digest.update(own.codes.astype(np.int32).tobytes())
            else:
                digest.update(np.ascontiguousarray(column.to_numpy()[rows]).data)
        return digest.hexdigest()


def build_dataset(batches: Iterable["pa.RecordBatch"], rows: int, mart: Mart, *, folder: Path | None = None) -> Dataset:
    """Turn Arrow batches of the mart into compact, ordered model inputs.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        All rows, in any order.
    rows : int
        How many rows will come.
    mart : Mart
        Roles of the columns.
    folder : Path, optional
        Where the numeric features are kept in a file; they are in memory without it.

    Returns
    -------
    Dataset
        One row per session and decision point.

    Raises
    ------
    FunneliftError
        When another number of rows came.
    """
    import pyarrow as pa

    columns = _Columns(rows, mart, folder)
    for batch in batches:
        columns.add(batch)
    if columns.filled != rows:
        raise FunneliftError(f"{MART} shrank while it was read: expected {rows} rows, got {columns.filled}. Run again")
    if not rows:
        raise FunneliftError(
            f"{MART} is empty: no session reaches a decision point before it buys. Load such events with `python -m "
            "ingest load`, then run `dbt build`"
        )
    data = columns.in_order()
    del columns
    # Arrow keeps what it no longer needs: the texts as they came, once more.
    pa.default_memory_pool().release_unused()
    return data


class _Columns:
    """Columns of the mart in the order in which they arrive, in little memory."""

    def __init__(self, rows: int, mart: Mart, folder: Path | None) -> None:
        self.mart, self.filled = mart, 0
        self.numbers = Numbers(len(mart.numeric), rows, folder)
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
        for number, name in zip(self.numbers.values, self.mart.numeric, strict=True):
            number[start:end] = to_float32(batch.column(name))
        self.numbers.let_go()
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
        for row in self.numbers.values:
            row[:] = row[order]
            self.numbers.let_go()
        inputs = pd.DataFrame(self.numbers.values.T, columns=self.mart.numeric, copy=False)
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
            numbers=self.numbers,
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


def renumbered(visitor: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Number the visitors of some rows in order of first appearance among these, whatever other rows there are.

    Parameters
    ----------
    visitor : ndarray of shape (n_rows,)
        Any number of each row's visitor.

    Returns
    -------
    ndarray of shape (n_rows,)
        From 0 on.
    """
    import pandas as pd

    return np.asarray(pd.factorize(visitor)[0], dtype=np.int32)


def to_float32(column: "pa.Array") -> npt.NDArray[np.float32]:
    """Return numbers as models take them.

    Parameters
    ----------
    column : pyarrow.Array
        Numbers of any type.

    Returns
    -------
    ndarray of shape (n_rows,)
        NaN where the column is null.
    """
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

    if len(rows) == len(data) and not data.is_on_disk:
        # All of them: what was made of these rows to score them by one model serves the next.
        return data
    return replace(
        data,
        identity=data.identity.take(pa.array(rows)),
        inputs=data.taken(rows).reset_index(drop=True),
        numbers=None,
        label=data.label[rows],
        decided_ms=data.decided_ms[rows],
        is_mature=data.is_mature[rows],
        is_new_visitor=data.is_new_visitor[rows],
        visitor=data.visitor[rows],
    )
