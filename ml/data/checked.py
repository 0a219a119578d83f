"""The feature mart, once it has passed the gates: all rows, or those that models see and the others in numbers."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ml.arrays import Rows
from ml.config import Split
from ml.data.counts import Summary, check_rows, check_sessions, rows_at_points
from ml.data.elsewhere import Elsewhere, check_values_elsewhere, count_elsewhere, find_leaks, read_chosen
from ml.data.features import MART, Mart, check_columns
from ml.data.leakage import FeatureAuc, check_leakage
from ml.data.read import read_rows
from ml.data.rows import Dataset
from ml.data.split import MODEL_SPLITS, SPLITS, Classes, Splits, check_conversions, split_by_time
from ml.data.values import check_values
from ml.run import Run
from warehouse.base import Warehouse
from warehouse.workers import WarehouseWithWorkers


@dataclass(frozen=True)
class Checked:
    """Rows of the feature mart, and what the gates found.

    `elsewhere` says what all rows are like where an engine's workers have them: only those that models see are here.
    """

    mart: Mart
    data: Dataset
    summary: Summary
    expectations: int
    single_features: list[FeatureAuc]
    settings: Split
    elsewhere: Elsewhere | None = None

    @cached_property
    def splits(self) -> Splits:
        """The split of each row that is here; raises FunneliftError where one has too few conversions."""
        if self.elsewhere is None:
            return split_by_time(self.data, self.settings)
        of = self.elsewhere.of_splits
        check_conversions(
            {name: of[name].positives for name in MODEL_SPLITS}, self.elsewhere.rule.bounds, self.settings
        )
        return self.elsewhere.split(self.data)

    @cached_property
    def of_splits(self) -> dict[str, Classes]:
        """How many rows of the mart each split has."""
        if self.elsewhere is not None:
            return self.elsewhere.of_splits
        return {name: Classes.of(self.data.label[self.splits.rows(name)]) for name in SPLITS}

    def is_seen(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Say whether the training split has rows of the same visitor.

        Parameters
        ----------
        rows : ndarray of int
            Positions of test rows that are evaluated.

        Returns
        -------
        ndarray of shape (n_rows,)
            One answer per row.
        """
        if self.elsewhere is not None:
            import pyarrow as pa

            return self.elsewhere.is_seen(self.data.identity.column("visitor_id").take(pa.array(rows)))
        seen = np.zeros(int(self.data.visitor.max()) + 1, dtype=bool)
        seen[self.data.visitor[self.splits.rows("train")]] = True
        return seen[self.data.visitor[rows]]


def read_checked(run: Run, warehouse: Warehouse, mart: Mart, only: str | None = None) -> Checked:
    """Run every gate on the feature mart, and read it.

    Parameters
    ----------
    run : Run
        The run.
    warehouse : Warehouse
        The open warehouse.
    mart : Mart
        Roles of the columns.
    only : str, optional
        `conversion` or `uplift` where one part alone needs rows.

    Returns
    -------
    Checked
        All rows, or those that models see.

    Raises
    ------
    FunneliftError
        When a gate fails.
    """
    check_columns(mart, warehouse.columns(MART))
    if isinstance(warehouse, WarehouseWithWorkers):
        return _checked_elsewhere(run, warehouse, mart, only)
    with run.progress.step("reading the feature mart"):
        data = read_rows(warehouse, mart, run.config, run.folder)
    with run.progress.step("gate: counts, conversion rate, nulls, ranges, leakage"):
        summary = check_sessions(warehouse)
        check_rows(warehouse, rows_at_points(data))
        data = replace(data, plausible_from_ms=summary.first_plausible_ms)
        # Side by side; where both find a fault, that of the values is told.
        with ThreadPoolExecutor(1) as pool:
            leakage = pool.submit(check_leakage, data, mart, run.config)
            expectations = check_values(data, mart, run.config)
        return Checked(mart, data, summary, expectations, leakage.result(), run.config.split)


def _checked_elsewhere(run: Run, warehouse: WarehouseWithWorkers, mart: Mart, only: str | None) -> Checked:
    config, progress = run.config, run.progress
    with progress.step("gate: counts, conversion rate, nulls and ranges, on the workers"):
        summary = check_sessions(warehouse)
        elsewhere = count_elsewhere(warehouse, mart, config, summary.first_plausible_ms)
        check_rows(warehouse, elsewhere.of_points)
        expectations = check_values_elsewhere(warehouse, mart, config, run.folder)
    with progress.step("gate: leakage, on the workers"):
        single_features = find_leaks(warehouse, mart, config, elsewhere)
    with progress.step("reading the rows that models see"):
        data = read_chosen(warehouse, mart, config, run.folder, elsewhere, only=only)
        data = replace(data, plausible_from_ms=summary.first_plausible_ms)
    return Checked(mart, data, summary, expectations, single_features, config.split, elsewhere)
