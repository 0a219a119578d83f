"""From the difference of two models to an effect of the right size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows

FEWEST_PARTS, MOST_PARTS, ROWS_PER_PART = 10, 30, 3_000
SHRINKAGE_FOLDS = 5


@dataclass(frozen=True)
class Prediction:
    """What is published of each row: probability of a conversion in either arm, and the score that ranks.

    `uplift` is their difference. `score` is the chosen candidate's; `uplift` is the same ranking on the scale of the
    effects that the rows learnt from showed.
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
    """The non-decreasing line through `knots` and `effects` that turns a score into an effect.

    The score of a fitted model is spread wider than the effects are, because the model errs, so that its top rows
    promise too much; and a conversion probability is no effect at all. So the rows that were learnt from, ranked by
    what models of other folds say, are cut into equal parts: ten, or one per 3,000 rows up to thirty. The effect of a
    part is the mean of its doubly robust scores, made non-decreasing (isotonic regression), with straight lines between
    the parts. Then all shrink towards their mean by
    `shrinkage`, from 0 (no difference between rows was found) to 1: the slope of the best linear predictor of the
    effect (Chernozhukov, Demirer, Duflo & Fernández-Val 2018) given such a line fitted on other visitors.
    """

    knots: tuple[float, ...]
    effects: tuple[float, ...]
    shrinkage: float
    treated_share: float

    @classmethod
    def learn(
        cls, score: Floats, effects: Floats, visitor: npt.NDArray[np.int32], treated_share: float
    ) -> "EffectScale":
        """Fit the line on rows that the scoring models did not see.

        Parameters
        ----------
        score : ndarray of shape (n_rows,)
            Cross-fitted scores.
        effects : ndarray of shape (n_rows,)
            Doubly robust scores of the effect.
        visitor : ndarray of shape (n_rows,)
            Number of each row's visitor; rows of one are not independent.
        treated_share : float
            Share of treated rows.

        Returns
        -------
        EffectScale
            The line.
        """
        parts = int(np.clip(len(score) // ROWS_PER_PART, FEWEST_PARTS, MOST_PARTS))
        part = np.empty(len(score), dtype=np.intp)
        part[np.argsort(score, kind="stable")] = np.arange(len(score)) * parts // len(score)
        shrinkage = _shrinkage(part, effects, visitor % SHRINKAGE_FOLDS)
        rows = np.bincount(part, minlength=parts)
        knots = np.bincount(part, score, parts)[rows > 0] / rows[rows > 0]
        means = _rising_means(part, effects, parts)[rows > 0]
        mean = float(effects.mean())
        shrunk = mean + shrinkage * (means - mean)
        return cls(tuple(map(float, knots)), tuple(map(float, shrunk)), shrinkage, treated_share)

    def apply(self, p_control: Floats, p_treatment: Floats, score: Floats) -> Prediction:
        """Move two probabilities apart by the effect and keep their weighted mean, which is better known.

        Parameters
        ----------
        p_control, p_treatment : ndarray of shape (n_rows,)
            Probabilities of a conversion as the models of the two arms say.
        score : ndarray of shape (n_rows,)
            Scores of the chosen candidate.

        Returns
        -------
        Prediction
            Probabilities from 0 to 1.
        """
        effect = np.interp(score, self.knots, self.effects)
        overall = (1 - self.treated_share) * p_control + self.treated_share * p_treatment
        control = np.clip(overall - self.treated_share * effect, 0, 1)
        return Prediction(control, np.clip(control + effect, 0, 1), score)


def _shrinkage(part: Rows, effects: Floats, fold: npt.NDArray[np.int32]) -> float:
    """Slope of the effects on those of the same part among other visitors, 0 to 1."""
    crossed, parts = np.empty(len(effects)), int(part.max()) + 1
    for held_out in range(SHRINKAGE_FOLDS):
        rest = fold != held_out
        crossed[~rest] = _rising_means(part[rest], effects[rest], parts)[part[~rest]]
    crossed -= crossed.mean()
    spread = float(crossed @ crossed)
    return float(np.clip(crossed @ (effects - effects.mean()) / spread, 0, 1)) if spread > 0 else 0.0


def _rising_means(part: Rows, values: Floats, parts: int) -> Floats:
    """Mean of the values in each part, made non-decreasing; one without rows takes its neighbours' level."""
    from sklearn.isotonic import IsotonicRegression

    rows = np.bincount(part, minlength=parts)
    known = np.flatnonzero(rows)
    means = np.bincount(part, values, parts)[known] / rows[known]
    line = IsotonicRegression(out_of_bounds="clip").fit(known, means, sample_weight=rows[known])
    return np.asarray(line.predict(np.arange(parts)))
