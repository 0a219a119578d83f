"""Scored rows as drift is measured on them: features in bins, one byte each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels, Rows
from ml.config import Monitoring
from ml.data.features import MART, NONE, PREDICTIONS, Mart
from ml.drift.bins import Bins, category_bins, number_bins
from warehouse.base import Joined, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

SCORE = "probability"
REFERENCE_SPLITS, CURRENT_SPLITS = ("test",), ("new", "open")
BinCodes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scored:
    """Rows with a prediction.

    Parameters
    ----------
    visitor : ndarray of shape (n_rows,)
        Number of each row's visitor.
    day : ndarray of shape (n_rows,)
        Local day of the decision, counted from 1970-01-01.
    decided_ms : ndarray of shape (n_rows,)
        Time of the decision.
    probability : ndarray of shape (n_rows,)
        What the champion said when it scored the row.
    label : ndarray of shape (n_rows,)
        1 where the session converted, 0 where it did not, -1 where it is not over.
    codes : dict of str to ndarray of shape (n_rows,)
        Feature, and `probability`, to the bin of each row.
    """

    visitor: npt.NDArray[np.int32]
    day: npt.NDArray[np.int32]
    decided_ms: npt.NDArray[np.int64]
    probability: Floats
    label: Labels
    codes: dict[str, BinCodes]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: Rows) -> "Scored":
        """Return some of the rows."""
        return Scored(
            self.visitor[rows],
            self.day[rows],
            self.decided_ms[rows],
            self.probability[rows],
            self.label[rows],
            {name: codes[rows] for name, codes in self.codes.items()},
        )


@dataclass(frozen=True)
class Compared:
    """The champion's test rows, the rows scored since, and the bins of both.

    `left_out` rows are in neither sample: they appeared after the training and were decided before the test rows, or
    later than the data's own time, by a wrong clock.
    """

    reference: Scored
    current: Scored
    bins: dict[str, Bins]
    left_out: int


def read_compared(
    warehouse: Warehouse, mart: Mart, key: tuple[str, ...], settings: Monitoring, latest_ms: int
) -> Compared:
    """Read the test rows and the rows scored since, a batch at a time.

    Numbers are cut where the test rows have their quantiles. Categories are the most frequent values of both samples
    together: chosen from one of them, they would be too frequent there by chance.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    mart : Mart
        Roles of the mart's columns.
    key : tuple of str
        The columns that mart and predictions share as their key.
    settings : Monitoring
        How many bins.
    latest_ms : int
        The latest plausible time, epoch milliseconds.

    Returns
    -------
    Compared
        Both samples. About 60 bytes a row stay in memory, and the test rows' numbers until they are cut.
    """
    reference = _Columns(mart, None)
    for batch in _read(warehouse, mart, key, REFERENCE_SPLITS):
        reference.add(batch)
    bins = {name: number_bins(reference.number(name), settings.bins) for name in (*mart.numeric, SCORE)}
    current = _Columns(mart, bins)
    for batch in _read(warehouse, mart, key, CURRENT_SPLITS):
        current.add(batch)
    codes: tuple[dict[str, BinCodes], dict[str, BinCodes]] = ({}, {})
    for name in (*mart.numeric, SCORE):
        codes[0][name] = bins[name].code(reference.pop(name))
        codes[1][name] = current.pop(name)
    for name in mart.categorical:
        bins[name], *both = category_bins(reference.category(name), current.category(name), settings.categories)
        codes[0][name], codes[1][name] = both
    tested, since = reference.scored(codes[0]), current.scored(codes[1])
    first_ms = tested.decided_ms.min() if len(tested) else 0
    kept = (since.decided_ms >= first_ms) & (since.decided_ms <= latest_ms)
    return Compared(tested, since.take(np.flatnonzero(kept)), bins, int((~kept).sum()))


def _read(warehouse: Warehouse, mart: Mart, key: tuple[str, ...], splits: Sequence[str]) -> "Iterator[pa.RecordBatch]":
    columns = (*mart.names, mart.label, "visitor_id", "decided_date", "decided_ms", "is_mature")
    return warehouse.read_joined(
        MART, columns, Joined(PREDICTIONS, key, (SCORE,), where="dataset_split", values=tuple(splits))
    )


class _Columns:
    """Columns as they arrive: numbers as they are, or at once as bins where these are known."""

    def __init__(self, mart: Mart, bins: dict[str, Bins] | None) -> None:
        self.mart, self.bins = mart, bins
        self.parts: dict[str, list[npt.NDArray[Any]]] = {}
        self.texts: dict[str, list[pa.DictionaryArray]] = {name: [] for name in mart.categorical}
        self.visitors: list[pa.Array] = []

    def add(self, batch: "pa.RecordBatch") -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        for name in (*self.mart.numeric, SCORE):
            kind = np.float64 if name == SCORE else np.float32
            values = batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False).astype(kind)
            if name == SCORE:
                self._keep("score", values)
            self._keep(name, self.bins[name].code(values) if self.bins else values)
        label = pc.if_else(pc.equal(batch.column("is_mature"), 1), batch.column(self.mart.label), -1)
        self._keep("label", pc.fill_null(label.cast(pa.int8()), -1).to_numpy(zero_copy_only=False))
        self._keep("decided_ms", batch.column("decided_ms").to_numpy(zero_copy_only=False).copy())
        days = batch.column("decided_date").cast(pa.date32()).cast(pa.int32())
        self._keep("day", days.to_numpy(zero_copy_only=False).copy())
        for name, parts in self.texts.items():
            parts.append(pc.fill_null(batch.column(name), NONE).dictionary_encode())
        # Taking copies the rows; the column itself would keep the engine's whole batch in memory.
        self.visitors.append(batch.column("visitor_id").take(pa.array(np.arange(batch.num_rows))))

    def _keep(self, name: str, values: npt.NDArray[Any]) -> None:
        self.parts.setdefault(name, []).append(values)

    def number(self, name: str) -> npt.NDArray[Any]:
        """Join what arrived of a column."""
        parts = self.parts.get(name)
        if not parts:
            kinds = {"label": np.int8, "decided_ms": np.int64, "day": np.int32, "score": np.float64}
            return np.empty(0, np.uint8 if self.bins and name not in kinds else kinds.get(name, np.float32))
        if len(parts) > 1:
            self.parts[name] = [np.concatenate(parts)]
        return self.parts[name][0]

    def pop(self, name: str) -> npt.NDArray[Any]:
        """Join what arrived of a column and let go of it."""
        values = self.number(name)
        self.parts.pop(name, None)
        return values

    def category(self, name: str) -> tuple[npt.NDArray[np.int32], list[str]]:
        """Return the number of each row's value, and the values."""
        import pyarrow as pa

        if not self.texts[name]:
            return np.empty(0, np.int32), []
        together = pa.chunked_array(self.texts.pop(name)).unify_dictionaries()
        codes = np.concatenate([chunk.indices.to_numpy() for chunk in together.chunks])
        return codes, together.chunk(0).dictionary.to_pylist()

    def scored(self, codes: dict[str, BinCodes]) -> Scored:
        """Put the rows together."""
        visitor = _in_order(self.visitors) if self.visitors else np.empty(0, np.int32)
        found = {name: self.pop(name) for name in ("day", "decided_ms", "score", "label")}
        return Scored(visitor, found["day"], found["decided_ms"], found["score"], found["label"], codes)


def _in_order(visitors: "list[pa.Array]") -> npt.NDArray[np.int32]:
    """Number visitors in the order of their ids, so that resamples do not depend on the order in which rows come."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pa.chunked_array(visitors).combine_chunks().dictionary_encode()
    rank = np.empty(len(found.dictionary), np.int32)
    rank[pc.array_sort_indices(found.dictionary).to_numpy()] = np.arange(len(rank), dtype=np.int32)
    return np.asarray(rank[found.indices.to_numpy()])
