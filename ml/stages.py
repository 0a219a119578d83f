"""What the parts of a run share: where it works, and the rows that passed the gates."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from ml.cli import Progress
from ml.config import Config
from ml.features import MART, Dataset, Mart, build_dataset, check_columns
from ml.validate import FeatureAuc, Summary, check_counts, check_leakage, check_values
from ml.warehouse import Publication, Warehouse


@dataclass(frozen=True)
class Run:
    """One run: settings, name, start in UTC, the folder its files are collected in, and who hears of its progress."""

    config: Config
    run_id: str
    started: datetime
    folder: Path
    progress: Progress


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


@dataclass(frozen=True)
class Outcome:
    """What a part of a run hands on: tables to publish, and lines for whoever started it."""

    publications: list[Publication]
    findings: list[str]


def read_checked(run: Run, warehouse: Warehouse, mart: Mart) -> Checked:
    """Read the feature mart and let nothing pass that does not add up.

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
        row_count, batches = warehouse.read(MART, mart.columns)
        data = build_dataset(batches, row_count, mart)
    with run.progress.step("gate: counts, conversion rate, nulls, ranges, leakage"):
        return Checked(
            mart=mart,
            data=data,
            summary=check_counts(warehouse, data),
            expectations=check_values(data, mart, run.config),
            single_features=check_leakage(data, mart, run.config),
        )
