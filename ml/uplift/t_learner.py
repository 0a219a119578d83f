"""The T-learner: one model per arm."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml.uplift.cross_fitting import CrossFitter, Fit
from ml.uplift.effect_scale import EffectScale, Prediction

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TLearner:
    """Two CatBoost models, one per arm, each calibrated; uplift is their difference on the scale of the effects.

    `baseline_rate` is the conversion rate of the training rows that were not treated.

    References
    ----------
    Künzel, Sekhon, Bickel & Yu (2019), Metalearners for estimating heterogeneous treatment effects, PNAS 116(10).
    """

    control: Fit
    treatment: Fit
    scale: EffectScale
    baseline_rate: float

    @property
    def trees(self) -> int:
        """Mean number of trees of the two models."""
        return round((self.control.trees + self.treatment.trees) / 2)

    def predict(self, inputs: "pd.DataFrame") -> Prediction:
        """Predict rows that were not trained on.

        Parameters
        ----------
        inputs : DataFrame
            Features.

        Returns
        -------
        Prediction
            One value per row.
        """
        return self.scale.apply(self.control.probability(inputs), self.treatment.probability(inputs))

    def predict_training_rows(self) -> Prediction:
        """Predict the training rows, each by models of the other folds."""
        return self.scale.apply(self.control.crossed, self.treatment.crossed)


def fit_t_learner(fitter: CrossFitter) -> TLearner:
    """Fit one model per arm, cross-fitted by visitor, and learn the scale of the effects.

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
    control, treatment = (fitter.cross_fit(experiment.treatment == arm) for arm in (0, 1))
    train = experiment.arms("train")
    scale = EffectScale.learn(control.crossed, treatment.crossed, train)
    return TLearner(control, treatment, scale, baseline_rate=float(train.of(0).outcome.mean()))
