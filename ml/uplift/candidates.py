"""The candidates that are fitted beside the T-learner, each a weighted sum of parts that can be saved."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.uplift.effect_model import EffectModel, Growth
from ml.uplift.evidence import Evidence
from ml.uplift.names import DR_LEARNER, RESPONSE, S_LEARNER, T_LEARNER, X_LEARNER

ON_CONTROL, ON_TREATED = "x_learner_control", "x_learner_treatment"
S_GROWTH = Growth(trees=60, depth=5, learning_rate=0.1)
X_GROWTH = Growth(trees=100, depth=2, learning_rate=0.1)
DR_GROWTH = Growth(trees=200, depth=2, learning_rate=0.05)
ALL_FOLDS = -1

Mask = npt.NDArray[np.bool_]
Models = dict[str, EffectModel]


@dataclass(frozen=True)
class Ranking:
    """A way to rank: a weighted sum of parts.

    A part is a model of `models`, the T-learner's difference or the response baseline's probability.
    """

    name: str
    weights: dict[str, float]
    models: Models

    def score(self, parts: Mapping[str, Floats]) -> Floats:
        """Sum the parts, each of shape (n_rows,)."""
        return np.asarray(sum(weight * parts[name] for name, weight in self.weights.items()))


@dataclass(frozen=True)
class Candidate:
    """A ranking, and what it says of the evidence's rows by models of other folds."""

    ranking: Ranking
    crossed: Floats


@dataclass(frozen=True)
class Fitting:
    """How candidates are fitted: seed and threads of CatBoost, and the number of folds."""

    seed: int
    threads: int
    folds: int


def fit_candidates(names: Sequence[str], evidence: Evidence, fitting: Fitting) -> dict[str, Candidate]:
    """Fit the candidates that the settings name; the T-learner is always one, and taken as it is.

    Parameters
    ----------
    names : sequence of str
        Candidates beside the T-learner.
    evidence : Evidence
        Rows to learn from.
    fitting : Fitting
        Seed, threads and folds.

    Returns
    -------
    dict of str to Candidate
        The T-learner first.
    """
    found = {T_LEARNER: Candidate(Ranking(T_LEARNER, {T_LEARNER: 1.0}, {}), evidence.p_treatment - evidence.p_control)}
    if RESPONSE in names:
        found[RESPONSE] = Candidate(Ranking(RESPONSE, {RESPONSE: 1.0}, {}), evidence.response)
    share = evidence.arms.treated_share
    fitted = [name for name in PARTS if name in names]

    def fit(task: tuple[str, int]) -> tuple[Models, Floats]:
        """Fit a candidate on all folds, or on all but one, and ask it about that one."""
        name, fold = task
        # The X-learner learns from predictions as they are; in doubly robust scores their errors cancel.
        known = evidence.without(fold) if name == X_LEARNER and fold != ALL_FOLDS else evidence
        models = FITS[name](known, evidence.chosen & (evidence.fold != fold), fitting)
        held_out = np.flatnonzero(evidence.fold == fold)
        said = np.zeros(len(held_out))
        for part, model in models.items():
            said += _weight(part, share) * model.effect(evidence.inputs.iloc[held_out])
        return models, said

    tasks = [(name, fold) for name in fitted for fold in (ALL_FOLDS, *range(fitting.folds))]
    with ThreadPoolExecutor(fitting.threads) as pool:
        done = dict(zip(tasks, pool.map(fit, tasks), strict=True))
    for name in fitted:
        crossed = np.zeros(len(evidence))
        for fold in range(fitting.folds):
            crossed[evidence.fold == fold] = done[name, fold][1]
        weights = {part: _weight(part, share) for part in PARTS[name]}
        found[name] = Candidate(Ranking(name, weights, done[name, ALL_FOLDS][0]), crossed)
    return found


def _weight(part: str, treated_share: float) -> float:
    """The X-learner's two parts are weighed against each other; all others stand alone."""
    return {ON_CONTROL: treated_share, ON_TREATED: 1 - treated_share}.get(part, 1.0)


def fit_s_learner(evidence: Evidence, which: Mask, fitting: Fitting) -> Models:
    """Fit one model of the outcome with the arm as a feature; the effect is its answer to one arm less the other's.

    Parameters
    ----------
    evidence : Evidence
        Rows.
    which : ndarray of shape (n_rows,)
        Those to learn from.
    fitting : Fitting
        Seed and threads.

    Returns
    -------
    dict of str to EffectModel
        One model.
    """
    arms = evidence.arms
    model = EffectModel.fit_outcome(
        evidence.inputs[which], arms.treatment[which], arms.outcome[which], S_GROWTH,
        seed=fitting.seed, threads=fitting.threads,
    )  # fmt: skip
    return {S_LEARNER: model}


def fit_x_learner(evidence: Evidence, which: Mask, fitting: Fitting) -> Models:
    """Fit in each arm how outcomes differ from what the other arm's model says; arguments as above.

    References
    ----------
    Künzel, Sekhon, Bickel & Yu (2019), Metalearners for estimating heterogeneous treatment effects, PNAS 116(10).
    """
    arms, found = evidence.arms, {}
    for part, arm, imputed in (
        (ON_CONTROL, 0, evidence.p_treatment - arms.outcome),
        (ON_TREATED, 1, arms.outcome - evidence.p_control),
    ):
        own = which & (arms.treatment == arm)
        found[part] = EffectModel.fit_values(
            evidence.inputs[own], imputed[own], None, X_GROWTH, seed=fitting.seed, threads=fitting.threads
        )
    return found


def fit_dr_learner(evidence: Evidence, which: Mask, fitting: Fitting) -> Models:
    """Fit the doubly robust scores, each weighted by how good a witness its row is; arguments as above.

    References
    ----------
    Kennedy (2023), Towards optimal doubly robust estimation of heterogeneous causal effects, EJS 17(2):3008-3049.
    """
    model = EffectModel.fit_values(
        evidence.inputs[which], evidence.effects[which], evidence.weights[which], DR_GROWTH,
        seed=fitting.seed, threads=fitting.threads,
    )  # fmt: skip
    return {DR_LEARNER: model}


PARTS = {S_LEARNER: (S_LEARNER,), DR_LEARNER: (DR_LEARNER,), X_LEARNER: (ON_CONTROL, ON_TREATED)}
FITS: dict[str, Callable[[Evidence, Mask, Fitting], Models]] = {
    S_LEARNER: fit_s_learner,
    DR_LEARNER: fit_dr_learner,
    X_LEARNER: fit_x_learner,
}
