"""Which candidate's scores are published: the simplest that is not shown to be worse than the best."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.uplift.candidates import Candidate
from ml.uplift.evidence import Evidence
from ml.uplift.names import DR_LEARNER, RESPONSE, S_LEARNER, STACK, T_LEARNER, TITLES, X_LEARNER

# From the simplest on: one model, one model asked twice, two models, two and a regression of their scores, two and two
# more, all of them.
BY_SIMPLICITY = (RESPONSE, S_LEARNER, T_LEARNER, DR_LEARNER, X_LEARNER, STACK)
SQUARED_POINTS = 100.0**2


@dataclass(frozen=True)
class UpliftCandidate:
    """One candidate on the rows that were learnt from.

    `gain` is by how much the candidate lowers the squared error of the predicted effect, in squared percentage points,
    against one effect for all; `behind_best` how much less that is than the best candidate's. Both have standard errors
    by visitor. `simplicity` is 1 for the simplest.
    """

    learner: str
    simplicity: int
    gain: float
    gain_se: float
    behind_best: float
    behind_best_se: float
    is_chosen: bool
    reason: str


def choose(candidates: Mapping[str, Candidate], evidence: Evidence) -> list[UpliftCandidate]:
    """Compare the candidates by doubly robust scores of rows that their models did not see, and choose one.

    A candidate's gain is the weighted mean of g^2 - (g - b s)^2: g is the doubly robust score and s the candidate's
    score, both less their means; b, not below 0, is the slope of g on s in the other folds, so that only the order and
    the spacing of scores count. Rows weigh what `precision_weights` says. Without these weights a few likely buyers'
    luck decides. The simplest candidate whose gain is within one standard error of the best one's is chosen; the error
    is that of the paired difference. A candidate whose scores fall where effects rise (no slope above 0 on all rows) is
    chosen only where all do, for it would put first who reacts least.

    Parameters
    ----------
    candidates : mapping of str to Candidate
        What can be chosen.
    evidence : Evidence
        The rows that they were fitted on, each predicted by models of other folds.

    Returns
    -------
    list of UpliftCandidate
        One per candidate, the simplest first; one of them is chosen.

    References
    ----------
    Nie & Wager (2021), Quasi-oracle estimation of heterogeneous treatment effects, Biometrika 108(2), for the loss;
    Breiman et al. (1984), Classification and regression trees, for the rule of one standard error.
    """
    names = [name for name in BY_SIMPLICITY if name in candidates]
    gains = np.column_stack([_gains(candidates[name].crossed, evidence) for name in names])
    best = int(np.argmax(gains.mean(axis=0)))
    behind = [_mean_and_error(gains[:, best] - own, evidence) for own in gains.T]
    everywhere = np.ones(len(evidence), dtype=bool)
    rises = [_line(candidates[name].crossed, evidence, everywhere)[1] > 0 for name in names]
    near = [less <= error for less, error in behind]
    chosen = next((at for at in range(len(names)) if near[at] and rises[at]), best)
    return [
        UpliftCandidate(
            name,
            BY_SIMPLICITY.index(name) + 1,
            *_mean_and_error(gains[:, at], evidence),
            *behind[at],
            is_chosen=at == chosen,
            reason=_reason(at, chosen, best, names, rises=rises[at], is_near=near[at]),
        )
        for at, name in enumerate(names)
    ]


def _gains(score: Floats, evidence: Evidence) -> Floats:
    """Each row's part of the gain."""
    gains = np.zeros(len(score))
    for fold in np.unique(evidence.fold):
        own = evidence.fold == fold
        (mean_score, mean_effect), slope = _line(score, evidence, ~own)
        predicted = max(0.0, slope) * (score[own] - mean_score)
        gains[own] = evidence.weights[own] * predicted * (2 * (evidence.effects[own] - mean_effect) - predicted)
    return SQUARED_POINTS * gains


def _line(score: Floats, evidence: Evidence, which: npt.NDArray[np.bool_]) -> tuple[tuple[float, float], float]:
    """Weighted means of a candidate's score and the effects on some rows, and the slope of these on it; 0 without."""
    weights = evidence.weights[which]
    means = [float(np.average(x[which], weights=weights)) for x in (score, evidence.effects)]
    s, g = score[which] - means[0], evidence.effects[which] - means[1]
    spread = float(np.sum(weights * s**2))
    return (means[0], means[1]), float(np.sum(weights * s * g)) / spread if spread > 0 else 0.0


def _mean_and_error(values: Floats, evidence: Evidence) -> tuple[float, float]:
    mean = float(values.mean())
    sums = np.bincount(evidence.arms.visitor_codes, values - mean, minlength=evidence.arms.n_visitors)
    return mean, float(np.sqrt(np.sum(sums**2))) / len(values)


def _reason(at: int, chosen: int, best: int, names: list[str], *, rises: bool, is_near: bool) -> str:
    best_title = TITLES[names[best]]
    if at == chosen:
        return "the best" if at == best else f"the simplest within one standard error of the best: {best_title}"
    if not rises:
        return "its scores do not rise with the effects"
    if not is_near:
        return f"worse than the best by more than one standard error: {best_title}"
    return f"not better by more than one standard error than what is simpler: {TITLES[names[chosen]]}"
