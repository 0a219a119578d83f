"""One two-armed experiment: a real one where arms were assigned, else a simulation whose effects are known."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats, Rows
from ml.config import ExperimentSettings
from ml.data.split import MODEL_SPLITS
from ml.data.split import SPLITS as MART_SPLITS
from ml.experiment.arms import Arms
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd

SPLITS = (*MART_SPLITS, "outside")
ARM_NAMES = {1: "treated", 0: "control"}


@dataclass(frozen=True)
class Truth:
    """What only a simulation knows: both outcomes of every row, its segment, and the expected effect there.

    `control` and `treated` are the row's outcome without and with treatment (0 or 1; -1 unknown); `segment` is a
    position in `segments`; `effect` is the expected treated-minus-control outcome of the row's segment.
    """

    control: Codes
    treated: Codes
    segment: Codes
    segments: tuple[str, ...]
    effect: Floats

    @property
    def effects(self) -> dict[str, float]:
        """The expected effect in each segment that has rows, by name."""
        codes, rows = np.unique(self.segment, return_index=True)
        return {self.segments[code]: float(self.effect[row]) for code, row in zip(codes, rows, strict=True)}


@dataclass(frozen=True)
class Assigned:
    """The arm and outcome of each row, -1 where there is none, and where they come from.

    `truth` is what a simulation knows; `left_out` counts the rows, and the visitors, that have no part, by reason.
    `stratum` and `propensity` are those of `Experiment`.
    """

    treatment: Codes
    outcome: Codes
    truth: Truth | None
    source: str
    left_out: dict[str, int]
    stratum: npt.NDArray[np.int32] | None = None
    propensity: Floats | None = None


@dataclass(frozen=True)
class Experiment:
    """Rows of one experiment at one decision point, one row per session, in the order of the data set.

    `inputs` holds the features (float32 and categories), `categorical` names the categories among them. `treatment` is
    1, 0 or -1 for a row that has no arm and is only scored; `outcome` is what was observed under that arm, -1 where it
    is not known. `visitor` numbers the visitors, the units that were randomised. `split` is a position in `SPLITS`:
    rows of train, calibration and test have an arm and an outcome. `treated_share` is the designed share of treated
    visitors. `stratum` numbers the strata within which visitors were drawn, `propensity` is each row's own chance of
    treatment; None where all had the same.
    """

    inputs: "pd.DataFrame"
    categorical: tuple[str, ...]
    treatment: Codes
    outcome: Codes
    visitor: npt.NDArray[np.int32]
    split: Codes
    treated_share: float
    truth: Truth | None = None
    stratum: npt.NDArray[np.int32] | None = None
    propensity: Floats | None = None

    def __len__(self) -> int:
        return len(self.treatment)

    @property
    def is_simulated(self) -> bool:
        """Whether arms and effects are made up."""
        return self.truth is not None

    def rows(self, *splits: str) -> Rows:
        """Return the positions of the rows of some splits, in order."""
        return np.flatnonzero(np.isin(self.split, [SPLITS.index(name) for name in splits]))

    def arms(self, *splits: str) -> Arms:
        """Return the arms, outcomes and visitors of the rows of some splits."""
        return Arms(self.treatment, self.outcome, self.visitor).take(self.rows(*splits))


def check_arms(experiment: Experiment, settings: ExperimentSettings) -> None:
    """Refuse an experiment that lacks an arm, or a split with too few conversions in one.

    Parameters
    ----------
    experiment : Experiment
        The experiment, split.
    settings : ExperimentSettings
        Fewest conversions.

    Raises
    ------
    FunneliftError
        With all counts.
    """
    found = {(split, arm): experiment.arms(split).of(arm).outcome for split in MODEL_SPLITS for arm in ARM_NAMES}
    told = "; ".join(
        f"{split}: "
        + ", ".join(
            f"{name} {int(found[split, arm].sum())} of {len(found[split, arm])} rows" for arm, name in ARM_NAMES.items()
        )
        for split in MODEL_SPLITS
    )
    for arm, name in ARM_NAMES.items():
        outcome = np.concatenate([found[split, arm] for split in MODEL_SPLITS])
        if not len(outcome):
            raise FunneliftError(
                f"the experiment has one arm only: no {name} row in any split ({told}). An effect needs both: check "
                "the assignments, or which values of the treatment column stand for the arms"
            )
        if not outcome.any():
            raise FunneliftError(
                f"no {name} row converts ({told}): without conversions in both arms there is nothing to compare. "
                "Take an outcome that happens more often, or wait for more data"
            )
    if min(int(outcome.sum()) for outcome in found.values()) < settings.min_conversions_per_arm:
        raise FunneliftError(
            f"gate enough data failed: each split needs {settings.min_conversions_per_arm} conversions in each arm "
            f"(experiment.min_conversions_per_arm), found {told}. Use more visitors or a longer time, an outcome that "
            "happens more often, or other shares in experiment.split"
        )


def check_size(experiment: Experiment, folds: int) -> None:
    """Refuse an experiment with fewer visitors than cross-fitting has folds.

    Parameters
    ----------
    experiment : Experiment
        The experiment, split.
    folds : int
        Number of folds.

    Raises
    ------
    FunneliftError
        With the number of visitors.
    """
    for arm, name in ARM_NAMES.items():
        visitors = experiment.arms("train").of(arm).n_visitors
        if visitors < folds:
            raise FunneliftError(
                f"the training split has {visitors} {name} visitors, fewer than the {folds} folds of cross-fitting "
                "(uplift.folds): use more data"
            )
