"""The T-learner: one model per arm."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml.arrays import Floats
from ml.uplift.cross_fitting import CrossFitter, Fit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TLearner:
    """Two CatBoost models, one per arm, each calibrated; their difference is the uplift.

    `baseline_rate` is the conversion rate of the training rows that were not treated.

    References
    ----------
    Künzel, Sekhon, Bickel & Yu (2019), Metalearners for estimating heterogeneous treatment effects, PNAS 116(10).
    """

    control: Fit
    treatment: Fit
    baseline_rate: float

    @property
    def trees(self) -> int:
        """Mean number of trees of the two models."""
        return round((self.control.trees + self.treatment.trees) / 2)

    def probabilities(self, inputs: "pd.DataFrame") -> tuple[Floats, Floats]:
        """Predict rows that were not trained on: without and with treatment, each of shape (n_rows,)."""
        return self.control.probability(inputs), self.treatment.probability(inputs)


def fit_t_learner(fitter: CrossFitter) -> TLearner:
    """Fit one model per arm, cross-fitted by visitor.

    Parameters
    ----------
    fitter : CrossFitter
        Fits models on the experiment's rows.

    Returns
    -------
    TLearner
        The learner.
    """
    experiment = fitter.experiment
    with ThreadPoolExecutor(fitter.config.threads) as pool:
        control, treatment = pool.map(lambda arm: fitter.cross_fit(experiment.treatment == arm), (0, 1))
    return TLearner(control, treatment, baseline_rate=float(experiment.arms("train").of(0).outcome.mean()))
