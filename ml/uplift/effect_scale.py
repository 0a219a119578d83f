"""From the difference of two models to an effect of the right size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows
from ml.experiment.arms import Arms
from ml.uplift.doubly_robust import doubly_robust_effects

DECILES = 10
SHRINKAGE_FOLDS = 5


@dataclass(frozen=True)
class Prediction:
    """What the T-learner says of each row: probability of a conversion in either arm, and the score that ranks.

    `uplift` is their difference. `score` is the difference of the two arms' models as they are; `uplift` is the same
    ranking on the scale of the effects that training rows showed.
    """

    p_control: Floats
    p_treatment: Floats
    score: Floats

    @property
    def uplift(self) -> Floats:
        """Predicted probability with treatment less that without."""
        return self.p_treatment - self.p_control


@dataclass(frozen=True)
class EffectScale:
    """The non-decreasing line through `knots` and `effects` that turns the two models' difference into an effect.

    The difference of two fitted models is spread wider than the effects are, because each model errs on its own, so
    that its top rows promise too much. So the effect of each decile of the cross-fitted training rows, ranked by that
    difference, is the mean of their doubly robust scores, made non-decreasing (isotonic regression), with straight
    lines between the deciles. Then all shrink towards their mean by `shrinkage`, from 0 (no difference between rows was
    found) to 1: the slope of the best linear predictor of the effect (Chernozhukov, Demirer, Duflo & Fernández-Val
    2018) given such a line fitted on other visitors.
    """

    knots: tuple[float, ...]
    effects: tuple[float, ...]
    shrinkage: float
    treated_share: float

    @classmethod
    def learn(cls, p_control: Floats, p_treatment: Floats, arms: Arms) -> "EffectScale":
        """Fit the line on rows that neither model saw.

        Parameters
        ----------
        p_control, p_treatment : ndarray of shape (n_rows,)
            Cross-fitted probabilities of a conversion in either arm.
        arms : Arms
            The same rows; rows of a visitor are not independent.

        Returns
        -------
        EffectScale
            The line.
        """
        score = p_treatment - p_control
        effects = doubly_robust_effects(p_control, p_treatment, arms)
        decile = np.empty(len(score), dtype=np.intp)
        decile[np.argsort(score, kind="stable")] = np.arange(len(score)) * DECILES // len(score)
        shrinkage = _shrinkage(decile, effects, arms.visitor % SHRINKAGE_FOLDS)
        rows = np.bincount(decile, minlength=DECILES)
        knots = np.bincount(decile, score, DECILES)[rows > 0] / rows[rows > 0]
        means = _rising_means(decile, effects)[rows > 0]
        mean = float(effects.mean())
        shrunk = mean + shrinkage * (means - mean)
        return cls(tuple(map(float, knots)), tuple(map(float, shrunk)), shrinkage, arms.treated_share)

    def apply(self, p_control: Floats, p_treatment: Floats) -> Prediction:
        """Rescale the difference of two probabilities and keep their weighted mean, which is better known.

        Parameters
        ----------
        p_control, p_treatment : ndarray of shape (n_rows,)
            Probabilities of a conversion as the two models say.

        Returns
        -------
        Prediction
            Probabilities from 0 to 1.
        """
        score = p_treatment - p_control
        effect = np.interp(score, self.knots, self.effects)
        overall = (1 - self.treated_share) * p_control + self.treated_share * p_treatment
        control = np.clip(overall - self.treated_share * effect, 0, 1)
        return Prediction(control, np.clip(control + effect, 0, 1), score)


def _shrinkage(decile: Rows, effects: Floats, fold: npt.NDArray[np.int32]) -> float:
    """Slope of the effects on those of the same decile among other visitors, 0 to 1."""
    crossed = np.empty(len(effects))
    for held_out in range(SHRINKAGE_FOLDS):
        rest = fold != held_out
        crossed[~rest] = _rising_means(decile[rest], effects[rest])[decile[~rest]]
    crossed -= crossed.mean()
    spread = float(crossed @ crossed)
    return float(np.clip(crossed @ (effects - effects.mean()) / spread, 0, 1)) if spread > 0 else 0.0


def _rising_means(decile: Rows, values: Floats) -> Floats:
    """Mean of the values in each decile, made non-decreasing; one without rows takes its neighbours' level."""
    from sklearn.isotonic import IsotonicRegression

    rows = np.bincount(decile, minlength=DECILES)
    known = np.flatnonzero(rows)
    means = np.bincount(decile, values, DECILES)[known] / rows[known]
    line = IsotonicRegression(out_of_bounds="clip").fit(known, means, sample_weight=rows[known])
    return np.asarray(line.predict(np.arange(DECILES)))
