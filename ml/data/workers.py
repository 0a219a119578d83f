"""What an engine's workers do with rows of the mart for a training: count them, choose among them, look for leaks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.arrays import Codes
from ml.config import Leakage
from ml.data.draw import row_places, visitor_numbers, visitors_within, within
from ml.data.features import NONE, Mart
from ml.data.leakage import FeatureAuc, evaluate_features
from ml.data.rows import Dataset, to_float32
from ml.data.split import SPLITS, Bounds, codes_at

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

COUNTED = ("session_id", "decision_point", "decided_ms", "is_mature")
# Of several at a time, who the visitors are is read once.
FEATURES_AT_ONCE = 8


@dataclass(frozen=True)
class SplitRule:
    """What splits a row by itself: the times, and when the few sessions began that lie on both sides of one.

    Parameters
    ----------
    bounds : Bounds
        The times between the splits.
    plausible_from_ms : int
        Rows before have an implausible time.
    began_ms : mapping of str to int
        Such sessions, and when their first row was decided.
    """

    bounds: Bounds
    plausible_from_ms: int
    began_ms: Mapping[str, int]

    def codes(self, rows: "pa.Table") -> Codes:
        """Return positions in `SPLITS`, as `split_at` does with all rows before it.

        Parameters
        ----------
        rows : pyarrow.Table
            Columns session_id, decided_ms and is_mature.

        Returns
        -------
        ndarray of shape (n_rows,)
            One per row.
        """
        return self._codes(_numbers(rows, "decided_ms"), _numbers(rows, "is_mature"), rows.column("session_id"))

    def codes_of(self, data: Dataset) -> Codes:
        """Return the same of a data set.

        Parameters
        ----------
        data : Dataset
            Any rows.

        Returns
        -------
        ndarray of shape (n_rows,)
            One per row.
        """
        return self._codes(data.decided_ms, data.is_mature, data.identity.column("session_id"))

    def _codes(self, decided_ms: Any, is_mature: Any, session_id: "pa.ChunkedArray") -> Codes:
        import pyarrow as pa
        import pyarrow.compute as pc

        codes = codes_at(decided_ms, is_mature, self.bounds, self.plausible_from_ms)
        began = pa.array(self.began_ms, pa.string())
        at = pc.fill_null(pc.index_in(session_id.cast(pa.string()), value_set=began), -1).to_numpy()
        across = np.flatnonzero(at >= 0)
        first = np.array(list(self.began_ms.values()), dtype=np.int64)[at[across]]
        of_first = codes_at(first, is_mature[across], self.bounds, self.plausible_from_ms)
        moved = across[(is_mature[across] == 1) & (of_first != codes[across])]
        codes[moved] = SPLITS.index("embargo")
        return codes


@dataclass(frozen=True)
class RowCounter:
    """Counts rows by split, decision point and label."""

    rule: SplitRule
    label: str

    @property
    def columns(self) -> tuple[str, ...]:
        """What it takes."""
        return (*COUNTED, self.label)

    @property
    def schema(self) -> "pa.Schema":
        """What it returns."""
        import pyarrow as pa

        names = {"split": pa.string(), "decision_point": pa.string(), "label": pa.int64(), "row_count": pa.int64()}
        return pa.schema(list(names.items()))

    def __call__(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        """Yield the counts of each batch."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for batch in batches:
            rows = pa.Table.from_batches([batch])
            split = pa.DictionaryArray.from_arrays(pa.array(self.rule.codes(rows)), list(SPLITS)).cast(pa.string())
            keyed = pa.table(
                {
                    "split": split,
                    "decision_point": pc.fill_null(rows.column("decision_point").cast(pa.string()), NONE),
                    "label": _numbers(rows, self.label),
                }
            )
            counted = keyed.group_by(keyed.column_names).aggregate([([], "count_all")])
            yield from counted.rename_columns(self.schema.names).to_batches()


@dataclass(frozen=True)
class RowChooser:
    """Keeps the rows that a training looks at: those that can be drawn, some visitors' and those of an experiment.

    `train_positives` and `train_negatives` are the shares of the training split's rows that are kept, by place;
    `calibration` and `test` those of the visitors whose rows of these splits are; all rows at `point` are kept.
    """

    rule: SplitRule
    label: str
    seed: int
    train_positives: float = 0.0
    train_negatives: float = 0.0
    calibration: float = 0.0
    test: float = 0.0
    point: str | None = None

    def __call__(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        """Yield the rows of each batch that are kept."""
        import pyarrow as pa

        for batch in batches:
            yield batch.filter(pa.array(self._is_kept(pa.Table.from_batches([batch]))))

    def _is_kept(self, rows: "pa.Table") -> Any:
        codes, points = self.rule.codes(rows), rows.column("decision_point")
        is_kept = np.zeros(len(rows), dtype=bool)
        for split, share in (("calibration", self.calibration), ("test", self.test)):
            own = np.flatnonzero(codes == SPLITS.index(split))
            is_kept[own] = visitors_within(rows.column("visitor_id").take(own), share)
        own = np.flatnonzero(codes == SPLITS.index("train"))
        if max(self.train_positives, self.train_negatives) > 0:
            places = row_places(rows.column("session_id").take(own), points.take(own), self.seed)
            bought = _numbers(rows, self.label)[own] == 1
            is_kept[own] = np.where(bought, within(places, self.train_positives), within(places, self.train_negatives))
        if self.point is not None:
            import pyarrow.compute as pc

            is_kept |= pc.fill_null(pc.equal(points, self.point), False).to_numpy()
        return is_kept


@dataclass(frozen=True)
class TrainedVisitors:
    """Names the visitors with rows in the training split, a share of all visitors."""

    rule: SplitRule
    share: float
    columns = (*COUNTED, "visitor_id")

    @property
    def schema(self) -> "pa.Schema":
        """What it returns."""
        import pyarrow as pa

        return pa.schema([("visitor_id", pa.string())])

    def __call__(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        """Yield each batch's visitors once."""
        import pyarrow as pa

        for batch in batches:
            rows = pa.Table.from_batches([batch])
            own = np.flatnonzero(self.rule.codes(rows) == SPLITS.index("train"))
            ids = rows.column("visitor_id").take(own).unique()
            known = ids.filter(pa.array(visitors_within(ids, self.share)))
            yield pa.record_batch([known.cast(pa.string())], self.schema)


@dataclass(frozen=True)
class LeakFinder:
    """Measures what single features say of the label, each task some features at one decision point.

    The rows lie in a folder of Parquet files for each decision point. One feature is in memory at a time, beside label
    and visitor of all rows at the point.
    """

    folder: Path
    mart: Mart
    settings: Leakage

    @property
    def schema(self) -> "pa.Schema":
        """What it returns: what each feature says, and where nearly every row converts."""
        import pyarrow as pa

        texts, numbers = (
            ("feature", "decision_point", "pure_where"),
            ("rows", "positives", "pure_rows", "pure_positives"),
        )
        return pa.schema(
            [*((name, pa.string()) for name in texts), ("auc", pa.float64()), *((name, pa.int64()) for name in numbers)]
        )

    def tasks(self, points: list[str]) -> "pa.Table":
        """Return one row per task: a decision point, and the position of the first feature."""
        import pyarrow as pa

        pairs = [(point, first) for point in points for first in range(0, len(self.mart.features), FEATURES_AT_ONCE)]
        return pa.table({"point": [point for point, _ in pairs], "first": [first for _, first in pairs]})

    def __call__(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        """Yield what is found in each task."""
        import pyarrow as pa

        for batch in batches:
            for task in batch.to_pylist():
                found = [_row_of(entry) for entry in self._found(task["point"], task["first"])]
                yield pa.RecordBatch.from_pylist(found, self.schema)

    def _found(self, point: str, first: int) -> Iterator[FeatureAuc]:
        import pandas as pd

        files = sorted((self.folder / f"decision_point={point}").glob("*.parquet"))
        label = _read(files, self.mart.label).to_numpy().astype(np.int8)
        visitor = visitor_numbers(_read(files, "visitor_id"))
        for feature in self.mart.features[first : first + FEATURES_AT_ONCE]:
            if feature.name == "decision_point":
                values: Any = pd.Categorical([point] * len(label))
            elif feature.kind == "numeric":
                values = np.concatenate([to_float32(chunk) for chunk in _read(files, feature.name).chunks])
            else:
                values = _categories(_read(files, feature.name))
            yield from evaluate_features(
                pd.DataFrame({feature.name: values}), [feature], label, visitor,
                rows=np.arange(len(label)), group=point, settings=self.settings,
            )  # fmt: skip


def _row_of(entry: FeatureAuc) -> dict[str, Any]:
    pure = entry.pure
    return {
        "feature": entry.feature,
        "decision_point": entry.decision_point,
        "auc": entry.auc,
        "rows": entry.rows,
        "positives": entry.positives,
        "pure_where": None if pure is None else pure.where,
        "pure_rows": None if pure is None else pure.rows,
        "pure_positives": None if pure is None else pure.positives,
    }


def _read(files: list[Path], column: str) -> "pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = []
    for path in files:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            parts.append(file.read([column]).column(0))
    return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type if parts else pa.null())


def _categories(column: "pa.ChunkedArray") -> "pd.Categorical":
    import pandas as pd
    import pyarrow.compute as pc

    coded = pc.fill_null(column, NONE).dictionary_encode().unify_dictionaries()
    levels = coded.chunk(0).dictionary.to_pylist() if coded.num_chunks else []
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in coded.chunks])
    categorical = pd.Categorical.from_codes(codes, pd.Index(levels, dtype=object))
    return categorical.reorder_categories(sorted(levels))


def _numbers(rows: "pa.Table", name: str) -> Any:
    """A column of whole numbers, -1 where it is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.fill_null(rows.column(name).cast(pa.int64()), -1).to_numpy()
