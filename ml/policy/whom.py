"""Whom does the intervention change, in words: the groups of the policy tree, and who the top tenth are."""

from dataclasses import dataclass, replace

import numpy as np

from ml.arrays import Floats
from ml.config import Config, PolicySettings
from ml.data.features import Mart
from ml.experiment.experiment import Experiment
from ml.policy.groups import Groups, GroupsValue, HeldOut, UpliftGroup, find_groups, with_treat
from ml.uplift.learners import Fits
from ml.uplift.names import CHOSEN
from ml.uplift.profile import UpliftFeature, profile_of
from ml.uplift.scores import Scores


@dataclass(frozen=True)
class Whom:
    """Groups, the value of treating those that pay (null where costs are others since), and the profile by feature."""

    groups: list[UpliftGroup]
    value: GroupsValue | None
    profile: list[UpliftFeature]

    def at_costs(self, policy: PolicySettings) -> "Whom":
        """Return the same groups with today's costs; their value is that of the costs they were learnt with."""
        return replace(self, groups=with_treat(self.groups, policy), value=None)


def whom_to_treat(
    experiment: Experiment, fits: Fits, scores: Scores, mart: Mart, config: Config, *, value: Floats | None = None
) -> Whom:
    """Describe whom the intervention changes.

    Parameters
    ----------
    experiment : Experiment
        Rows.
    fits : Fits
        What was fitted on them.
    scores : Scores
        What the chosen candidate says of them.
    mart : Mart
        What features are called.
    config : Config
        Settings.
    value : ndarray of shape (n_rows,), optional
        Revenue of a conversion of each row, NaN where it is what the settings say; without it, it is so for all.

    Returns
    -------
    Whom
        Groups and profile.
    """
    usual, test = config.policy.revenue_per_conversion, experiment.rows("test")
    worth = np.full(len(experiment), usual) if value is None else np.where(np.isfinite(value), value, usual)
    evaluated = HeldOut(
        inputs=experiment.inputs.iloc[test],
        arms=experiment.arms("test"),
        p_control=scores.prediction.p_control[test],
        p_treatment=scores.prediction.p_treatment[test],
        percentile=scores.percentiles[CHOSEN][test],
        value=worth[test],
    )
    groups: Groups = find_groups(
        fits.evidence,
        worth[fits.evidence.rows],
        mart,
        evaluated,
        config.policy,
        confidence=config.evaluation.confidence,
    )
    profile = profile_of(
        experiment, fits, scores, mart,
        most_rows=config.explanation.plot_rows, seed=config.seed, threads=config.threads,
    )  # fmt: skip
    return Whom(groups.entries, groups.value, profile)
