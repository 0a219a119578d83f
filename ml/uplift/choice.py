"""Which candidate's scores are published: the mean of those that are not shown to be worse than the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.uplift.candidates import Candidate
from ml.uplift.evidence import Evidence
from ml.uplift.names import DR_LEARNER, MEAN, RESPONSE, S_LEARNER, STACK, T_LEARNER, TITLES, X_LEARNER

# From the simplest on: one model, one model asked twice, two models, two and a regression of their scores, two and two
# more, all of them.
BY_SIMPLICITY = (RESPONSE, S_LEARNER, T_LEARNER, DR_LEARNER, X_LEARNER, STACK, MEAN)
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


@dataclass(frozen=True)
class Compared:
    """One candidate's gain, how far it is behind the best, both with standard errors, and its slope on all rows."""

    gain: float
    gain_error: float
    behind: float
    behind_error: float
    slope: float


def compare(candidates: Mapping[str, Candidate], evidence: Evidence) -> list[Compared]:
    """Compare the candidates by doubly robust scores of rows that their models did not see.

    A candidate's gain is the weighted mean of g^2 - (g - b s)^2: g is the doubly robust score and s the candidate's
    score, both less their means; b, not below 0, is the slope of g on s in the other folds, so that only the order and
    the spacing of scores count. Rows weigh what `precision_weights` says. Without these weights a few likely buyers'
    luck decides. The error of what a candidate is behind is that of the paired difference.

    Parameters
    ----------
    candidates : mapping of str to Candidate
        What is compared.
    evidence : Evidence
        The rows that they were fitted on, each predicted by models of other folds.

    Returns
    -------
    list of Compared
        One per candidate, the simplest first.

    References
    ----------
    Nie & Wager (2021), Quasi-oracle estimation of heterogeneous treatment effects, Biometrika 108(2), for the loss.
    """
    scores = [candidates[name].crossed for name in BY_SIMPLICITY if name in candidates]
    gains = np.column_stack([_gains(score, evidence) for score in scores])
    best = gains[:, np.argmax(gains.mean(axis=0))]
    everywhere = np.ones(len(evidence), dtype=bool)
    return [
        Compared(
            *_mean_and_error(own, evidence),
            *_mean_and_error(best - own, evidence),
            slope=_line(score, evidence, everywhere)[1],
        )
        for own, score in zip(gains.T, scores, strict=True)
    ]


def choose(
    candidates: Mapping[str, Candidate], evidence: Evidence, members: Sequence[str] = ()
) -> list[UpliftCandidate]:
    """Choose one of the candidates.

    The mean is chosen where there is one. Else, where one candidate is clearly the best or no mean was asked for, it is
    the simplest candidate whose gain is within one standard error of the best one's. One whose scores fall where
    effects rise (no slope above 0 on all rows) is chosen only where all do, for it would put first who reacts least.

    Parameters
    ----------
    candidates : mapping of str to Candidate
        What can be chosen.
    evidence : Evidence
        The rows that they were fitted on.
    members : sequence of str
        The candidates whose mean is a candidate, if there is one.

    Returns
    -------
    list of UpliftCandidate
        One per candidate, the simplest first; one of them is chosen.

    References
    ----------
    Breiman et al. (1984), Classification and regression trees, for the rule of one standard error.
    """
    names = [name for name in BY_SIMPLICITY if name in candidates]
    compared = compare(candidates, evidence)
    best = int(np.argmax([entry.gain for entry in compared]))
    near = [entry.behind <= entry.behind_error for entry in compared]
    rises = [entry.slope > 0 for entry in compared]
    chosen = next((at for at in range(len(names)) if near[at] and rises[at]), best)
    reasons = [_reason(at, chosen, best, names, rises=rises[at], is_near=near[at]) for at in range(len(names))]
    if MEAN in candidates:
        chosen = names.index(MEAN)
        reasons = [_reason_by_mean(name, members, is_rising) for name, is_rising in zip(names, rises, strict=True)]
    return [
        UpliftCandidate(
            name,
            BY_SIMPLICITY.index(name) + 1,
            *(entry.gain, entry.gain_error, entry.behind, entry.behind_error),
            is_chosen=at == chosen,
            reason=reasons[at],
        )
        for at, (name, entry) in enumerate(zip(names, compared, strict=True))
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


def _reason_by_mean(name: str, members: Sequence[str], is_rising: bool) -> str:
    if name == MEAN:
        return f"the mean of those that may be the best: {', '.join(TITLES[own] for own in members)}"
    if name in members:
        return "has a part in the mean"
    if not is_rising:
        return "its scores do not rise with the effects"
    return "a mixture itself" if name == STACK else "worse than the best by more than two standard errors"
