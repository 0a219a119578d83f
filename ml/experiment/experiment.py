"""One two-armed experiment: a real one where arms were assigned, else a simulation whose effects are known."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats
from ml.config import ExperimentSettings
from ml.data.split import MODEL_SPLITS
from ml.data.split import SPLITS as MART_SPLITS
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd

SPLITS = (*MART_SPLITS, "outside")
ARMS = ((1, "treated"), (0, "control"))


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


@dataclass(frozen=True)
class Experiment:
    """Rows of one experiment at one decision point, one row a session, in the order of the data set.

    `inputs` holds the features (float32 and categories), `categorical` names the categories among them. `treatment` is
    1, 0 or -1 for a row that has no arm and is only scored; `outcome` is what was observed under that arm, -1 where it
    is not known. `visitor` numbers the visitors, the units that were randomised. `split` is a position in `SPLITS`:
    rows of train, calibration and test have an arm and an outcome. `treated_share` is the designed share of treated
    visitors.
    """

    inputs: "pd.DataFrame"
    categorical: tuple[str, ...]
    treatment: Codes
    outcome: Codes
    visitor: npt.NDArray[np.int32]
    split: Codes
    treated_share: float
    truth: Truth | None = None

    def __len__(self) -> int:
        return len(self.treatment)

    @property
    def is_simulated(self) -> bool:
        """Whether arms and effects are made up."""
        return self.truth is not None

    def rows(self, name: str) -> npt.NDArray[np.intp]:
        """Return the positions of a slice's rows."""
        return np.flatnonzero(self.split == SPLITS.index(name))


def check_arms(experiment: Experiment, settings: ExperimentSettings) -> None:
    """Refuse an experiment that lacks an arm, or a slice with too few conversions in one.

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
    counts = {
        (name, arm): experiment.outcome[rows[experiment.treatment[rows] == arm]]
        for name in MODEL_SPLITS
        for rows in [experiment.rows(name)]
        for arm in (1, 0)
    }
    told = "; ".join(
        f"{name}: "
        + ", ".join(f"{words} {int(counts[name, arm].sum())} of {len(counts[name, arm])} rows" for arm, words in ARMS)
        for name in MODEL_SPLITS
    )
    for arm, words in ARMS:
        outcomes = np.concatenate([counts[name, arm] for name in MODEL_SPLITS])
        if not len(outcomes):
            raise FunneliftError(
                f"the experiment has one arm only: no {words} row in any slice ({told}). An effect needs both: check "
                "the assignments, or which values of the treatment column stand for the arms"
            )
        if not outcomes.any():
            raise FunneliftError(
                f"no {words} row converts ({told}): without conversions in both arms there is nothing to compare. "
                "Take an outcome that happens more often, or wait for more data"
            )
    if min(int(outcome.sum()) for outcome in counts.values()) < settings.min_conversions_per_arm:
        raise FunneliftError(
            f"gate enough data failed: each slice needs {settings.min_conversions_per_arm} conversions in each arm "
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
    train = experiment.rows("train")
    for arm, words in ARMS:
        visitors = len(np.unique(experiment.visitor[train[experiment.treatment[train] == arm]]))
        if visitors < folds:
            raise FunneliftError(
                f"the training slice has {visitors} {words} visitors, fewer than the {folds} folds of cross-fitting "
                "(uplift.folds): use more data"
            )
