"""The placebo: with permuted arms there is nothing to find."""

import numpy as np

from ml.arrays import Labels
from ml.experiment.experiment import Experiment


def permuted_arms(experiment: Experiment, seed: int) -> Labels:
    """Deal the arms anew among the visitors, so that no effect is left.

    Parameters
    ----------
    experiment : Experiment
        Rows with their arms.
    seed : int
        Seed of the draw.

    Returns
    -------
    array of int
        One arm a row, one arm a visitor; -1 where there was none.
    """
    arm_of = np.full(int(experiment.visitor.max()) + 1, -1, dtype=np.int8)
    has_arm = experiment.treatment >= 0
    arm_of[experiment.visitor[has_arm]] = experiment.treatment[has_arm]
    visitors = np.flatnonzero(arm_of >= 0)
    arm_of[visitors] = np.random.default_rng(seed).permutation(arm_of[visitors])
    return np.where(has_arm, arm_of[experiment.visitor], -1).astype(np.int8)
