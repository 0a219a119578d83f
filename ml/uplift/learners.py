"""Whom does an intervention change? The T-learner, its rivals, and the placebo that must find nothing."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.arrays import Floats, Labels
from ml.config import Config
from ml.data.features import Mart
from ml.experiment.experiment import Experiment
from ml.uplift.cross_fitting import Fitter
from ml.uplift.dr_learner import fit_dr_learner
from ml.uplift.effect_scale import EffectScale, Prediction
from ml.uplift.names import RANDOM, RESPONSE, T_LEARNER
from ml.uplift.placebo import permuted_arms
from ml.uplift.t_learner import ARMS, TLearner
from ml.uplift.x_learner import fit_x_learner

if TYPE_CHECKING:
    from ml.arrays import Rows


@dataclass(frozen=True)
class Learned:
    """The T-learner, what it says of every row, and the scores of all learners on calibration and test rows.

    Training rows are predicted by models of the other folds. `scores` maps a learner to one score a row, NaN where it
    was not asked. `placebos` holds the test rows' arms and scores of T-learners whose arms were permuted.
    """

    t_learner: TLearner
    prediction: Prediction
    response: Floats
    scores: dict[str, Floats]
    placebos: list[tuple[Labels, Floats]]
    rival_rows: int


def fit_learners(experiment: Experiment, mart: Mart, config: Config, step: "Callable[[str], Any]") -> Learned:
    """Fit the T-learner, its rivals, the response baseline and the placebo.

    Parameters
    ----------
    experiment : Experiment
        Rows with their arms; each slice has conversions in both.
    mart : Mart
        Features.
    config : Config
        Settings.
    step : callable
        Returns a context manager that shows what is being done.

    Returns
    -------
    Learned
        Models and scores.
    """
    fitter = Fitter(experiment, mart, config)
    arms = experiment.treatment
    with step("fitting the T-learner, cross-fitted by visitor, and the response baseline"):
        fits = [fitter.arm(experiment.treatment == arm) for arm in (0, 1)]
        response_model, response_calibrator = fitter.response()
        train = experiment.rows("train")
        crossed = [fit.crossed for fit in fits]
        scale = EffectScale.learn(
            crossed[0], crossed[1], arms[train], experiment.outcome[train], experiment.visitor[train]
        )
        controls = train[arms[train] == 0]
        t_learner = TLearner(
            models={name: fit.model for name, fit in zip(ARMS, fits, strict=True)} | {RESPONSE: response_model},
            calibrators={name: fit.calibrator for name, fit in zip(ARMS, fits, strict=True)}
            | {RESPONSE: response_calibrator},
            scale=scale,
            usual_rate=float(experiment.outcome[controls].mean()),
        )
    with step("scoring every row of the experiment"):
        prediction = t_learner.predict(experiment.inputs)
        for whole, part in zip(
            (prediction.p_control, prediction.p_treatment, prediction.score), vars(scale.apply(*crossed)).values(),
            strict=True,
        ):  # fmt: skip
            whole[train] = part
        response = t_learner.response(experiment.inputs)
    judged = np.concatenate([experiment.rows("calibration"), experiment.rows("test")])
    trees = round(float(np.mean([fit.trees for fit in fits])))
    scores = {T_LEARNER: prediction.score}
    used = fitter.rival_rows()
    for name in config.uplift.rivals:
        with step(f"fitting the {RIVALS[name].title}"), warnings.catch_warnings():
            # EconML warns of missing values, which CatBoost handles, and uses functions that scikit-learn will drop.
            for kind in (UserWarning, FutureWarning):
                warnings.simplefilter("ignore", kind)
            scores[name] = np.full(len(experiment), np.nan)
            scores[name][judged] = RIVALS[name].fit(fitter, used, trees)(judged)
    scores[RESPONSE] = response
    scores[RANDOM] = np.random.default_rng(config.seed).random(len(experiment))
    test = experiment.rows("test")
    placebos = []
    with step("placebo: the same with permuted arms"):
        for run in range(config.uplift.placebo_runs):
            permuted = permuted_arms(experiment, config.seed + run)
            control, treatment = (
                fit.calibrator.probability(
                    fitter.whole(permuted == arm, trees=fit.trees).log_odds(experiment.inputs.iloc[test])
                )
                for arm, fit in enumerate(fits)
            )
            placebos.append((permuted[test], treatment - control))
    return Learned(t_learner, prediction, response, scores, placebos, len(used))


@dataclass(frozen=True)
class _Rival:
    title: str
    fit: "Callable[[Fitter, Rows, int], Callable[[Rows], Floats]]"


# Künzel et al. (2019) and Kennedy (2023), with the same base models, by EconML.
RIVALS = {
    "x_learner": _Rival("X-learner", fit_x_learner),
    "dr_learner": _Rival("DR-learner", fit_dr_learner),
}
