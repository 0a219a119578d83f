"""The feature mart as read, once it has passed the gates."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

from ml.data.counts import Summary, check_counts
from ml.data.features import MART, Mart, check_columns
from ml.data.leakage import FeatureAuc, check_leakage
from ml.data.read import read_rows
from ml.data.rows import Dataset
from ml.data.values import check_values
from ml.run import Run
from warehouse.base import Warehouse


@dataclass(frozen=True)
class Checked:
    """The feature mart as read, and what the gates found."""

    mart: Mart
    data: Dataset
    summary: Summary
    expectations: int
    single_features: list[FeatureAuc]

    @cached_property
    def data_sha256(self) -> str:
        """Fingerprint of the rows, which every part's record names."""
        return self.data.fingerprint()


def read_checked(run: Run, warehouse: Warehouse, mart: Mart) -> Checked:
    """Read the feature mart and run every gate on it.

    Parameters
    ----------
    run : Run
        The run.
    warehouse : Warehouse
        The open warehouse.
    mart : Mart
        Roles of the columns.

    Returns
    -------
    Checked
        All rows.

    Raises
    ------
    FunneliftError
        When a gate fails.
    """
    with run.progress.step("reading the feature mart"):
        check_columns(mart, warehouse.columns(MART))
        data = read_rows(warehouse, mart, run.config, run.folder)
    with run.progress.step("gate: counts, conversion rate, nulls, ranges, leakage"):
        summary = check_counts(warehouse, data)
        data = replace(data, plausible_from_ms=summary.first_plausible_ms)
        # Side by side; where both find a fault, that of the values is told.
        with ThreadPoolExecutor(1) as pool:
            leakage = pool.submit(check_leakage, data, mart, run.config)
            expectations = check_values(data, mart, run.config)
        return Checked(mart, data, summary, expectations, single_features=leakage.result())
