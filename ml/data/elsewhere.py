"""A training where an engine's workers read the mart: all rows in numbers, and only those that models see come here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.config import Config
from ml.data.counts import check_point
from ml.data.draw import share_of
from ml.data.features import MART, Mart
from ml.data.leakage import FeatureAuc, PurePart, check_accepted, refuse_leaks
from ml.data.read import folder_for, read_rows
from ml.data.rows import Dataset, build_dataset
from ml.data.split import SPLITS, Bounds, Classes, Splits, bounds_of
from ml.data.values import check_values, expectations_met
from ml.data.workers import LeakFinder, RowChooser, RowCounter, SplitRule, TrainedVisitors
from warehouse.base import Warehouse
from warehouse.workers import Handed, WarehouseWithWorkers

if TYPE_CHECKING:
    import pyarrow as pa

SPAN_SQL = """
select min(decided_ms) as first_ms, max(decided_ms) as last_ms
from funnelift.session_features
where is_mature = 1 and decided_ms >= ?
"""
# Sessions with rows on both sides of a time, so that they may be in two splits.
ACROSS_SQL = """
select session_id, min(decided_ms) as first_ms
from funnelift.session_features
where is_mature = 1
group by session_id
having {conditions}
"""
IS_ACROSS = "(min(decided_ms) < ? and max(decided_ms) >= ?)"
# By so many standard deviations more rows come than are drawn, so that none of these is missing.
SLACK = 8


@dataclass(frozen=True)
class Elsewhere:
    """What is known of all rows of the mart, of which only some are here.

    Parameters
    ----------
    rule : SplitRule
        How each is split.
    counts : mapping of (str, str) to Classes
        Split and decision point to how many rows there are.
    trained_visitors : pyarrow.ChunkedArray
        Visitors with rows in the training split: all of them among those whose test rows are evaluated.
    """

    rule: SplitRule
    counts: Mapping[tuple[str, str], Classes]
    trained_visitors: "pa.ChunkedArray"

    @property
    def of_splits(self) -> dict[str, Classes]:
        """How many rows each split has."""
        return {split: _sum(found for (own, _), found in self.counts.items() if own == split) for split in SPLITS}

    @property
    def of_points(self) -> dict[str, Classes]:
        """How many rows each decision point has."""
        points = dict.fromkeys(point for _, point in self.counts)
        return {point: _sum(found for (_, own), found in self.counts.items() if own == point) for point in points}

    def split(self, data: Dataset) -> Splits:
        """Split rows that are here as `split_by_time` splits all.

        Parameters
        ----------
        data : Dataset
            The rows.

        Returns
        -------
        Splits
            One split per row.
        """
        return Splits(**vars(self.rule.bounds), codes=self.rule.codes_of(data))

    def is_seen(self, visitor_id: "pa.ChunkedArray") -> npt.NDArray[np.bool_]:
        """Say of visitors whose test rows are evaluated whether the training split has rows of theirs.

        Parameters
        ----------
        visitor_id : pyarrow.ChunkedArray
            One id per row.

        Returns
        -------
        ndarray of shape (n_rows,)
            One answer per row.
        """
        import pyarrow.compute as pc

        known = self.trained_visitors.combine_chunks()
        return np.asarray(pc.is_in(visitor_id.cast("string"), value_set=known).to_numpy())


def count_elsewhere(
    warehouse: WarehouseWithWorkers, mart: Mart, config: Config, plausible_from_ms: int
) -> Elsewhere:  # fmt: skip
    """Let the workers count the rows of the mart by split, decision point and label.

    Parameters
    ----------
    warehouse : WarehouseWithWorkers
        The open warehouse.
    mart : Mart
        Roles of the columns.
    config : Config
        Settings of the splits and of the evaluation.
    plausible_from_ms : int
        Rows before have an implausible time.

    Returns
    -------
    Elsewhere
        What Python counted on the workers.
    """
    (span,) = warehouse.query(SPAN_SQL, [plausible_from_ms])
    bounds = bounds_of(int(span["first_ms"] or 0), int(span["last_ms"] or 0), config.split)
    rule = split_rule(warehouse, bounds, plausible_from_ms)
    counter = RowCounter(rule, mart.label)
    _, batches = warehouse.gather(Handed(MART, counter.columns, counter, counter.schema))
    found: dict[tuple[str, str], dict[int, int]] = {}
    for row in (row for batch in batches for row in batch.to_pylist()):
        labels = found.setdefault((row["split"], row["decision_point"]), {})
        labels[row["label"]] = labels.get(row["label"], 0) + row["row_count"]
    counts = {key: Classes(labels.get(1, 0), sum(labels.values()) - labels.get(1, 0)) for key, labels in found.items()}
    test = _sum(classes for (split, _), classes in counts.items() if split == "test")
    visitors = TrainedVisitors(rule, share_of(config.evaluation.max_rows, test.rows))
    return Elsewhere(rule, counts, _texts(warehouse, visitors))


def check_values_elsewhere(warehouse: Warehouse, mart: Mart, config: Config, folder: Path) -> int:
    """Check nulls, ranges and accepted values by the engine's own SQL.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    mart : Mart
        Roles of the columns.
    config : Config
        Ranges and features that are never null.
    folder : Path
        Where the features of many rows are kept in a file.

    Returns
    -------
    int
        Number of expectations met.

    Raises
    ------
    GateError
        As `check_values` raises it, for which all rows are read: they tell what is wrong, and how often.
    """
    met = expectations_met(warehouse, mart, config)
    return check_values(read_rows(warehouse, mart, config, folder), mart, config) if met is None else met


def split_rule(warehouse: Warehouse, bounds: Bounds, plausible_from_ms: int) -> SplitRule:
    """Look for the sessions that lie on both sides of a time, with which each row can be split by itself.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    bounds : Bounds
        The times between the splits.
    plausible_from_ms : int
        Rows before have an implausible time.

    Returns
    -------
    SplitRule
        The rule.
    """
    starts = (bounds.calibration_ms, bounds.test_ms)
    times = [plausible_from_ms, *starts, *(start + bounds.embargo_ms for start in starts)]
    sql = ACROSS_SQL.format(conditions=" or ".join([IS_ACROSS] * len(times)))
    found = warehouse.query(sql, [time for time in times for _ in range(2)])
    began_ms = {str(row["session_id"]): int(row["first_ms"]) for row in found}
    return SplitRule(bounds, plausible_from_ms, began_ms)


def read_chosen(
    warehouse: WarehouseWithWorkers,
    mart: Mart,
    config: Config,
    folder: Path,
    elsewhere: Elsewhere,
    *,
    only: str | None,
) -> Dataset:
    """Read the rows that a training looks at: those that it can draw, and all of the experiment.

    Parameters
    ----------
    warehouse : WarehouseWithWorkers
        The open warehouse.
    mart : Mart
        Roles of the columns.
    config : Config
        Settings of samples and experiment.
    folder : Path
        Where the features of many rows are kept in a file.
    elsewhere : Elsewhere
        All rows in numbers.
    only : str, optional
        `conversion` or `uplift` where one part alone is trained.

    Returns
    -------
    Dataset
        The rows, in order of time.
    """
    of, samples = elsewhere.of_splits, {}
    if only != "uplift":
        wanted = of["train"].sample(config.sampling)
        samples = {
            "train_positives": _with_slack(wanted.positives, of["train"].positives),
            "train_negatives": _with_slack(wanted.negatives, of["train"].negatives),
            "calibration": share_of(config.calibration.max_rows, of["calibration"].rows),
            "test": share_of(config.evaluation.max_rows, of["test"].rows),
        }
    point = None if only == "conversion" else config.experiment.decision_point
    if point is not None:
        check_point(point, elsewhere.of_points)
    chooser = RowChooser(elsewhere.rule, mart.label, config.seed, **samples, point=point)
    rows, batches = warehouse.gather(Handed(MART, mart.columns, chooser))
    return build_dataset(batches, rows, mart, folder=folder_for(rows, config, folder))


def find_leaks(warehouse: WarehouseWithWorkers, mart: Mart, config: Config, elsewhere: Elsewhere) -> list[FeatureAuc]:
    """Let the workers measure what single features say of the label, and refuse one that says too much.

    Parameters
    ----------
    warehouse : WarehouseWithWorkers
        The open warehouse.
    mart : Mart
        Roles of the columns.
    config : Config
        Highest believable AUC and purity, and features accepted with a reason.
    elsewhere : Elsewhere
        All rows in numbers.

    Returns
    -------
    list of FeatureAuc
        As `check_leakage` returns it.

    Raises
    ------
    FunneliftError
        As `check_leakage` raises it.
    """
    check_accepted(mart, config.leakage)
    columns = tuple(dict.fromkeys((mart.label, "visitor_id", *mart.names)))
    points = sorted({point for split, point in elsewhere.counts if split != "open"})
    with warehouse.spread(MART, columns, ("is_mature", 1), "decision_point") as folder:
        finder = LeakFinder(folder, mart, config.leakage)
        measured = warehouse.each(finder.tasks(points), finder, finder.schema)
    found = [
        FeatureAuc(
            row["feature"], row["decision_point"], row["auc"], row["rows"], row["positives"],
            None if row["pure_where"] is None else PurePart(row["pure_where"], row["pure_rows"], row["pure_positives"]),
        )
        for row in measured.to_pylist()
    ]  # fmt: skip
    found.sort(key=lambda entry: (-entry.auc, entry.feature, entry.decision_point))
    refuse_leaks(found, config.leakage)
    return found


def _texts(warehouse: WarehouseWithWorkers, visitors: TrainedVisitors) -> "pa.ChunkedArray":
    import pyarrow as pa

    _, batches = warehouse.gather(Handed(MART, visitors.columns, visitors, visitors.schema))
    return pa.chunked_array([pa.Table.from_batches(batches, visitors.schema).column(0).unique()])


def _with_slack(wanted: int, of: int) -> float:
    return share_of(wanted + SLACK * sqrt(wanted + 1), of)


def _sum(classes: Iterable[Classes]) -> Classes:
    found = list(classes)
    return Classes(sum(each.positives for each in found), sum(each.negatives for each in found))
