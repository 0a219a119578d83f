"""Whom does an intervention change? The T-learner, the other candidates, the choice among them, and the placebos."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ml.arrays import Floats
from ml.cli import Steps
from ml.config import Config
from ml.data.features import Mart
from ml.experiment.experiment import Experiment
from ml.uplift.candidates import Candidate, Fitting, fit_candidates
from ml.uplift.choice import UpliftCandidate, choose
from ml.uplift.cross_fitting import CrossFitter, Fit
from ml.uplift.effect_scale import EffectScale, Prediction
from ml.uplift.evidence import Evidence
from ml.uplift.mean import fit_mean
from ml.uplift.names import MEAN, STACK
from ml.uplift.placebo import Placebo, fit_placebo
from ml.uplift.response import fit_response
from ml.uplift.stack import fit_stack
from ml.uplift.t_learner import TLearner, fit_t_learner
from ml.uplift.uplift_model import UpliftModel


@dataclass(frozen=True)
class Fits:
    """Everything that was fitted on one experiment: candidates, how they compare, and the chosen one's scale."""

    t_learner: TLearner
    response: Fit
    evidence: Evidence
    candidates: dict[str, Candidate]
    comparison: list[UpliftCandidate]
    scale: EffectScale
    placebos: list[Placebo]

    @property
    def chosen(self) -> str:
        """The candidate whose scores are published."""
        return next(entry.learner for entry in self.comparison if entry.is_chosen)

    @property
    def model(self) -> UpliftModel:
        """All that predicting by the chosen candidate needs."""
        return UpliftModel(self.t_learner, self.response, self.candidates[self.chosen].ranking, self.scale)

    def predict_evidence(self) -> Prediction:
        """Predict the training and calibration rows, each by models of the other folds."""
        score: Floats = self.candidates[self.chosen].crossed
        return self.scale.apply(self.evidence.p_control, self.evidence.p_treatment, score)


def fit_learners(experiment: Experiment, mart: Mart, config: Config, steps: Steps) -> Fits:
    """Fit the T-learner, the response baseline, the other candidates and the placebos, and choose whose scores count.

    Parameters
    ----------
    experiment : Experiment
        Rows with their arms; each split has conversions in both.
    mart : Mart
        Features.
    config : Config
        Settings.
    steps : Steps
        Shows what is being done.

    Returns
    -------
    Fits
        The fitted models.
    """
    fitter = CrossFitter(experiment, mart, config)
    with steps.step("fitting the T-learner, cross-fitted by visitor, and the response baseline"):
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(fit_response, fitter)
            t_learner, response = fit_t_learner(fitter), beside.result()
        evidence = Evidence.gather(fitter, t_learner.control, t_learner.treatment, response)
    with steps.step("fitting the other candidates, and choosing one"):
        names, folds = config.uplift.challengers, config.uplift.folds
        candidates = fit_candidates(names, evidence, Fitting(config.seed, config.threads, folds))
        if STACK in names and (stack := fit_stack(candidates, evidence, folds)) is not None:
            candidates[STACK] = stack
        mean = fit_mean(candidates, evidence) if MEAN in names else None
        if mean is not None:
            candidates[MEAN] = mean.candidate
        comparison = choose(candidates, evidence, mean.members if mean is not None else ())
        chosen = next(candidates[entry.learner] for entry in comparison if entry.is_chosen)
        arms = evidence.arms
        scale = EffectScale.learn(chosen.crossed, evidence.effects, arms.visitor, arms.treated_share)
    with steps.step("placebo: the same with permuted arms"):
        seeds = range(config.seed, config.seed + config.uplift.placebo_runs)
        with ThreadPoolExecutor(config.threads) as pool:
            placebos = list(pool.map(lambda seed: fit_placebo(fitter, t_learner, seed), seeds))
    return Fits(t_learner, response, evidence, candidates, comparison, scale, placebos)
