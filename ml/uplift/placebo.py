"""The placebo: with permuted arms there is nothing to find."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from ml.arrays import Floats, Labels
from ml.bootstrap import Bootstrap
from ml.experiment.arms import Arms
from ml.experiment.experiment import Experiment
from ml.uplift.cross_fitting import CrossFitter
from ml.uplift.metrics import UpliftMetric, evaluate_uplift
from ml.uplift.names import PLACEBO
from ml.uplift.t_learner import TLearner

ALARM = 0.001
FEWEST_RESAMPLES = 20


@dataclass(frozen=True)
class Placebo:
    """The test rows with permuted arms, and their scores by a T-learner of permuted arms."""

    arms: Arms
    score: Floats


def permuted_arms(experiment: Experiment, seed: int) -> Labels:
    """Permute the arms among the visitors, so that no effect is left.

    Parameters
    ----------
    experiment : Experiment
        Rows with their arms.
    seed : int
        Seed of the draw.

    Returns
    -------
    ndarray of shape (n_rows,)
        One arm per visitor; -1 where there was none.
    """
    arm_of = np.full(int(experiment.visitor.max()) + 1, -1, dtype=np.int8)
    has_arm = experiment.treatment >= 0
    arm_of[experiment.visitor[has_arm]] = experiment.treatment[has_arm]
    visitors = np.flatnonzero(arm_of >= 0)
    arm_of[visitors] = np.random.default_rng(seed).permutation(arm_of[visitors])
    return np.where(has_arm, arm_of[experiment.visitor], -1).astype(np.int8)


def fit_placebo(fitter: CrossFitter, t_learner: TLearner, seed: int) -> Placebo:
    """Fit the T-learner's models, of as many trees, on permuted arms of fewer rows, and score the test rows.

    Parameters
    ----------
    fitter : CrossFitter
        Fits models on the experiment's rows.
    t_learner : TLearner
        Gives the number of trees and the calibrators.
    seed : int
        Seed of the permutation.

    Returns
    -------
    Placebo
        Arms and scores of the test rows.
    """
    experiment = fitter.experiment
    test, permuted = experiment.rows("test"), permuted_arms(experiment, seed)
    control, treatment = (
        fit.calibrator.probability(
            fitter.fit_placebo(permuted == arm, fit.trees).log_odds(experiment.inputs.iloc[test])
        )
        for arm, fit in enumerate((t_learner.control, t_learner.treatment))
    )
    return Placebo(replace(experiment.arms("test"), treatment=permuted[test]), treatment - control)


def placebo_qini(placebos: Sequence[Placebo], top_shares: Sequence[float], bootstrap: Bootstrap) -> UpliftMetric:
    """Return the placebos' mean Qini coefficient, as an alarm: chance leaves its interval once in 1,000 runs.

    Parameters
    ----------
    placebos : sequence of Placebo
        At least one.
    top_shares : sequence of float
        Shares of the rows for uplift@k, which must be defined.
    bootstrap : Bootstrap
        The intervals.

    Returns
    -------
    UpliftMetric
        Mean and interval.
    """
    # The placebos' errors are pooled, so together they need no more resamples than one.
    resamples = max(FEWEST_RESAMPLES, bootstrap.resamples // len(placebos))
    fewer = replace(bootstrap, resamples=resamples)
    found = [
        entry
        for placebo in placebos
        for entry in evaluate_uplift({PLACEBO: placebo.score}, placebo.arms, top_shares, fewer)
        if (entry.learner, entry.metric, entry.versus) == (PLACEBO, "qini", "")
    ]
    widths = np.array([entry.ci_upper - entry.ci_lower for entry in found])
    error = np.sqrt((widths**2).mean() / len(found)) / (2 * norm.isf((1 - bootstrap.confidence) / 2))
    mean, reach = float(np.mean([entry.value for entry in found])), float(norm.isf(ALARM / 2) * error)
    return replace(found[0], value=mean, ci_lower=mean - reach, ci_upper=mean + reach)
