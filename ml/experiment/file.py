"""Any two-armed experiment in a CSV or Parquet file, checked like one on the mart."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes
from ml.config import Config
from ml.data.features import Feature, Mart
from ml.data.leakage import FeatureAuc, evaluate_features, refuse_leaks
from ml.data.rows import to_codes
from ml.experiment.experiment import Experiment, check_arms, check_size
from ml.experiment.file_columns import arms_of, feature_values, outcomes_of, value_counts
from ml.experiment.file_table import read_table, texts_of
from ml.experiment.randomisation import Randomisation, check_randomisation, is_first
from ml.experiment.simulated import hash_shares
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Columns:
    """Which columns of a file are what; every other one is a feature.

    Parameters
    ----------
    treatment : str
        Column that holds the arm.
    outcome : str
        Column of 0 and 1, or false and true.
    treated, control : str, optional
        Values of the treatment column for the arms; without them it must hold 0 and 1.
    visitor : str, optional
        Column that names the unit that was randomised; without it each row is one.
    ignore : tuple of str
        Columns that are no features: other outcomes, and all else that was measured after the treatment.
    """

    treatment: str
    outcome: str
    treated: str | None = None
    control: str | None = None
    visitor: str | None = None
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.treated is None) != (self.control is None) or (
            self.treated is not None and self.treated == self.control
        ):
            raise FunneliftError(
                f"treated {self.treated!r} and control {self.control!r}: give two different values, or neither"
            )
        twice = sorted({name for name in self.special if self.special.count(name) > 1 or name in self.ignore})
        if twice:
            raise FunneliftError(
                f"column {', '.join(twice)} cannot be two of treatment, outcome, visitor and ignored at once"
            )

    @property
    def special(self) -> list[str]:
        """Columns that hold arm, outcome and visitor."""
        return [name for name in (self.treatment, self.outcome, self.visitor) if name is not None]

    @property
    def values(self) -> list[str]:
        """Values of the treatment column that stand for the arms."""
        return [value for value in (self.treated, self.control) if value is not None]


@dataclass(frozen=True)
class FileExperiment:
    """An experiment read from a file.

    `identity` holds row_number (of the file's data rows, from 1) and visitor_id of each row; `mart` describes the
    features; `other_arms` counts the rows left out by their value of the treatment column; `dropped` maps columns that
    are no feature to the reason.
    """

    identity: "pa.Table"
    mart: Mart
    experiment: Experiment
    randomisation: Randomisation
    single_features: list[FeatureAuc]
    source: str
    rows_read: int
    other_arms: dict[str, int]
    dropped: dict[str, str]


def from_file(path: Path, columns: Columns, config: Config, *, treated_share: float | None = None) -> FileExperiment:
    """Read any two-armed experiment from a file.

    Numbers and dates are numeric features, texts and booleans are categories. Rows with another treatment are left out
    and counted. Visitors are split at random, by a hash of their id and the seed: in each arm, with and without a
    conversion, in the shares of `experiment.split`.

    Parameters
    ----------
    path : Path
        CSV (comma, semicolon or tab; plain or .gz; UTF-8, one header line) or Parquet.
    columns : Columns
        Which columns are what.
    config : Config
        Settings.
    treated_share : float, optional
        Designed share of treated visitors; without it the observed share is used and the sample ratio is not tested.

    Returns
    -------
    FileExperiment
        The experiment, checked.

    Raises
    ------
    GateError
        When a feature gives the outcome away, or arms were not assigned at random.
    FunneliftError
        When the file or a column cannot be used.
    """
    import pyarrow as pa

    table = _read(path, columns)
    texts = {name: texts_of(table.column(name), path, name) for name in columns.special}
    arm = arms_of(texts[columns.treatment], columns.treatment, columns.treated, columns.control)
    rows = np.flatnonzero(arm >= 0)
    if len(rows) < config.uplift.folds:
        raise FunneliftError(
            f"{path} has {len(rows)} rows in its two arms, fewer than the {config.uplift.folds} folds of cross-fitting "
            "(uplift.folds): use more data"
        )
    taken = pa.array(rows)
    treatment, outcome = arm[rows], outcomes_of(texts[columns.outcome].take(taken), rows, columns.outcome)
    numbers = pa.chunked_array([rows + 1])
    ids = numbers.cast(pa.string()) if columns.visitor is None else texts[columns.visitor].take(taken)
    visitor = _visitors(ids, treatment, columns.visitor)
    mart, inputs, dropped = _features(table.take(taken), columns, path)
    experiment = Experiment(
        inputs=inputs,
        categorical=tuple(mart.categorical),
        treatment=treatment,
        outcome=outcome,
        visitor=visitor,
        split=_random_split(ids, visitor, treatment, outcome, config),
        treated_share=float(treatment[is_first(visitor)].mean()) if treated_share is None else treated_share,
    )
    return FileExperiment(
        identity=pa.table({"row_number": numbers, "visitor_id": ids}),
        mart=mart,
        experiment=experiment,
        single_features=_check_leakage(experiment, mart, path.name, config),
        randomisation=_check_experiment(experiment, config, ratio_is_designed=treated_share is not None),
        source=f"experiment of {int(visitor.max()) + 1:,} visitors ({path.name})",
        rows_read=len(table),
        other_arms=value_counts(texts[columns.treatment].filter(pa.array(arm < 0))),
        dropped=dropped,
    )


def _read(path: Path, columns: Columns) -> "pa.Table":
    table = read_table(path, columns.special, columns.values)
    missing = [name for name in (*columns.special, *columns.ignore) if name not in table.column_names]
    if missing:
        raise FunneliftError(
            f"{path} has no column {', '.join(missing)}: its columns are {', '.join(table.column_names)}"
        )
    return table


def _visitors(ids: "pa.ChunkedArray", treatment: Codes, column: str | None) -> npt.NDArray[np.int32]:
    visitor = to_codes(ids)
    both = int((np.bincount(visitor, treatment) % np.bincount(visitor) != 0).sum())
    if both:
        raise FunneliftError(
            f"{both} values of {column} are in both arms, but one visitor has one arm: name the column that "
            "was randomised, or take these visitors out"
        )
    return visitor


def _features(rows: "pa.Table", columns: Columns, path: Path) -> "tuple[Mart, pd.DataFrame, dict[str, str]]":
    """Return the features, their values, and why the other columns are none."""
    import pandas as pd

    others = [name for name in rows.column_names if name not in (*columns.special, *columns.ignore)]
    found = {name: feature_values(rows.column(name), path, name) for name in others}
    dropped = dict.fromkeys(columns.ignore, "ignored, as told")
    dropped |= {name: values for name, values in found.items() if isinstance(values, str)}
    kinds = {"numeric": np.ndarray, "categorical": pd.Categorical}
    features = [
        Feature(name, "file", kind, name)
        for kind, own in kinds.items()
        for name in others
        if isinstance(found[name], own)
    ]
    if not features:
        reasons = "; ".join(f"{name}: {why}" for name, why in dropped.items()) or "there is no other column"
        raise FunneliftError(f"{path} has no column left that could be a feature ({reasons})")
    mart = Mart(tuple(features), columns.outcome, tuple(rows.column_names))
    return mart, pd.DataFrame({name: found[name] for name in mart.names}), dropped


def _check_leakage(experiment: Experiment, mart: Mart, file_name: str, config: Config) -> list[FeatureAuc]:
    rows = np.arange(len(experiment))
    found = evaluate_features(
        experiment.inputs, mart.features, experiment.outcome, experiment.visitor,
        rows=rows, group=file_name, settings=config.leakage,
    )  # fmt: skip
    found.sort(key=lambda entry: (-entry.auc, entry.feature))
    refuse_leaks(found, config.leakage)
    return found


def _check_experiment(experiment: Experiment, config: Config, *, ratio_is_designed: bool) -> Randomisation:
    randomisation = check_randomisation(experiment, config.experiment, ratio_is_designed=ratio_is_designed)
    check_size(experiment, config.uplift.folds)
    check_arms(experiment, config.experiment)
    return randomisation


def _random_split(
    ids: "pa.ChunkedArray", visitor: npt.NDArray[np.int32], treatment: Codes, outcome: Codes, config: Config
) -> Codes:
    """Split visitors at random, with and without a conversion and in each arm in the same shares."""
    first = np.flatnonzero(is_first(visitor))
    draw = hash_shares(f"{config.seed}:split:", ids)[first]
    stratum = 2 * treatment[first] + (np.bincount(visitor, outcome) > 0)
    settings = config.experiment.split
    edges = np.cumsum([settings.train_share, settings.calibration_share])
    split = np.empty(len(first), dtype=np.int8)
    for part in np.unique(stratum):
        visitors = np.flatnonzero(stratum == part)
        place = np.empty(len(visitors))
        place[np.argsort(draw[visitors])] = (np.arange(len(visitors)) + 0.5) / len(visitors)
        split[visitors] = np.searchsorted(edges, place)
    return split[visitor]
