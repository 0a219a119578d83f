"""Whom does an intervention change? The T-learner, its challengers, the response baseline and the placebos."""

from dataclasses import dataclass
from pathlib import Path

from ml.arrays import Predict
from ml.cli import Steps
from ml.config import Config
from ml.data.features import Mart
from ml.experiment.experiment import Experiment
from ml.files import write_json
from ml.uplift.challengers import fit_challengers
from ml.uplift.cross_fitting import CrossFitter, Fit
from ml.uplift.names import RESPONSE
from ml.uplift.placebo import Placebo, fit_placebo
from ml.uplift.response import fit_response
from ml.uplift.t_learner import TLearner, fit_t_learner

UPLIFT_FILE = "uplift.json"
CONTROL, TREATMENT = "control", "treatment"
SCALE_NAMES = {"shrinkage": "trust"}


@dataclass(frozen=True)
class Fits:
    """Everything that was fitted on one experiment; `challengers` maps a learner to what predicts some rows."""

    t_learner: TLearner
    response: Fit
    challengers: dict[str, Predict]
    placebos: list[Placebo]

    def save(self, folder: Path) -> None:
        """Write all that prediction by the T-learner and the response baseline needs.

        Parameters
        ----------
        folder : Path
            Where the files go: one CatBoost file per model and `uplift.json`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        fits = {CONTROL: self.t_learner.control, TREATMENT: self.t_learner.treatment, RESPONSE: self.response}
        for name, fit in fits.items():
            fit.model.save(folder / f"uplift_{name}.cbm")
        content = {
            "calibrators": {name: vars(fit.calibrator) for name, fit in fits.items()},
            # The names in the file are older than those in the code: a model's version follows from its files.
            "scale": {SCALE_NAMES.get(name, name): value for name, value in vars(self.t_learner.scale).items()},
            "usual_rate": self.t_learner.baseline_rate,
        }
        write_json(folder / UPLIFT_FILE, content)


def fit_learners(experiment: Experiment, mart: Mart, config: Config, steps: Steps) -> Fits:
    """Fit the T-learner, the response baseline, the challengers and the placebos.

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
        t_learner = fit_t_learner(fitter)
        response = fit_response(fitter)
    challengers = fit_challengers(fitter, t_learner.trees, steps)
    with steps.step("placebo: the same with permuted arms"):
        seeds = range(config.seed, config.seed + config.uplift.placebo_runs)
        placebos = [fit_placebo(fitter, t_learner, seed) for seed in seeds]
    return Fits(t_learner, response, challengers, placebos)
