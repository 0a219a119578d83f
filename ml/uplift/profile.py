"""Who the top tenth are: how they differ from the rest, and which features move the score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import Floats, Rows
from ml.conversion.explain import direction_of
from ml.data.features import NONE, Feature, Mart
from ml.experiment.experiment import Experiment
from ml.uplift.candidates import Mask, Ranking
from ml.uplift.effect_model import EffectModel, Growth, effect_features
from ml.uplift.learners import Fits
from ml.uplift.names import CHOSEN, S_LEARNER
from ml.uplift.scores import Scores

if TYPE_CHECKING:
    import pandas as pd

TOP = 0.9
SURROGATE = Growth(trees=150, depth=4, learning_rate=0.1)
SURROGATE_ROWS = 50_000
KNOWN = "(known)"
UP, DOWN = "higher: more uplift", "higher: less uplift"


@dataclass(frozen=True)
class UpliftFeature:
    """What one feature says of whom the intervention changes.

    `top_mean` and `rest_mean` are its means among the tenth of the test rows with the highest score and among the rest;
    of a category the shares of the level that tells them apart most, which `level` names; of a number whose being known
    tells more, the shares of known ones. `difference` is theirs in standard deviations of all test rows,
    `difference_rank` 1 for the largest. `mean_abs_shap` says how much the feature moves the score, `direction` which
    way; null for a feature that no effect is learnt from. `fidelity` is the share of the score's variance that these
    explain.
    """

    feature: str
    label: str
    level: str | None
    words: str
    top_mean: float
    rest_mean: float
    difference: float
    difference_rank: int
    mean_abs_shap: float | None
    shap_rank: int | None
    direction: str | None
    fidelity: float
    n_top: int
    n_rest: int


@dataclass(frozen=True)
class Contributions:
    """SHAP values of rows by feature, and the share of the score's variance that they explain."""

    names: tuple[str, ...]
    values: Floats
    fidelity: float


@dataclass(frozen=True)
class Contrast:
    """Means of a feature, or shares of a level, at the top and in the rest; their difference in standard deviations."""

    level: str | None
    top_mean: float
    rest_mean: float
    difference: float


def profile_of(
    experiment: Experiment, fits: Fits, scores: Scores, mart: Mart, *, most_rows: int, seed: int, threads: int
) -> list[UpliftFeature]:
    """Compare the top tenth of the test rows with the rest, and explain the score.

    Parameters
    ----------
    experiment : Experiment
        Rows.
    fits : Fits
        The chosen candidate.
    scores : Scores
        What it says of the rows.
    mart : Mart
        What features are called.
    most_rows : int
        Test rows that the score is explained on.
    seed : int
        Seed of their draw.
    threads : int
        Threads to use.

    Returns
    -------
    list of UpliftFeature
        One per feature that is not the same in all test rows, the largest difference first. None where the score puts
        all test rows, or none, in the top tenth.
    """
    test = experiment.rows("test")
    is_top = scores.percentiles[CHOSEN][test] >= TOP
    n_top, n_rest = int(is_top.sum()), int((~is_top).sum())
    if not (n_top and n_rest):
        return []
    inputs = experiment.inputs.iloc[test]
    features = [feature for feature in mart.features if inputs[feature.name].nunique(dropna=False) > 1]
    found = [(feature, contrast_of(feature, inputs[feature.name], is_top)) for feature in features]
    found.sort(key=lambda each: -abs(each[1].difference))
    drawn = np.sort(np.random.default_rng(seed).permutation(len(test))[:most_rows])
    said = _contributions(experiment, fits, scores, test[drawn], seed=seed, threads=threads)
    sizes = dict(zip(said.names, np.abs(said.values).mean(axis=0), strict=True))
    by_size = sorted((f.name for f in features if f.name in sizes), key=lambda name: -sizes[name])
    return [
        UpliftFeature(
            feature=feature.name,
            label=feature.label,
            level=contrast.level,
            words=words_of(feature, contrast),
            top_mean=contrast.top_mean,
            rest_mean=contrast.rest_mean,
            difference=contrast.difference,
            difference_rank=rank,
            mean_abs_shap=float(sizes[feature.name]) if feature.name in sizes else None,
            shap_rank=by_size.index(feature.name) + 1 if feature.name in sizes else None,
            direction=_direction(feature, inputs.iloc[drawn], said),
            fidelity=said.fidelity,
            n_top=n_top,
            n_rest=n_rest,
        )
        for rank, (feature, contrast) in enumerate(found, 1)
    ]


def _contributions(
    experiment: Experiment, fits: Fits, scores: Scores, rows: Rows, *, seed: int, threads: int
) -> Contributions:
    """Explain the chosen ranking itself where it is a sum of regressions, else a regression that follows it."""
    ranking = fits.candidates[fits.chosen].ranking
    if set(ranking.weights) <= set(ranking.models) - {S_LEARNER}:
        return explain_ranking(ranking, experiment.inputs.iloc[rows], 1.0)
    learnt = fits.evidence.rows[:: max(1, len(fits.evidence.rows) // SURROGATE_ROWS)]
    names = effect_features(experiment.inputs)
    score = scores.by_learner[CHOSEN]
    if np.ptp(score[learnt]) == 0:  # nothing to explain, and CatBoost refuses it
        return Contributions(tuple(names), np.zeros((len(rows), len(names))), 0.0)
    model = EffectModel.fit_values(
        experiment.inputs[names].iloc[learnt], score[learnt], None, SURROGATE, seed=seed, threads=threads
    )
    asked = experiment.inputs.iloc[rows]
    left = float(np.var(score[rows] - model.effect(asked)))
    whole = float(np.var(score[rows]))
    fidelity = max(0.0, 1 - left / whole) if whole > 0 else 0.0
    return explain_ranking(Ranking(fits.chosen, {"surrogate": 1.0}, {"surrogate": model}), asked, fidelity)


def explain_ranking(ranking: Ranking, inputs: "pd.DataFrame", fidelity: float) -> Contributions:
    """Sum the SHAP values of a ranking's regressions, each with its weight.

    Parameters
    ----------
    ranking : Ranking
        A weighted sum of regressions of effects.
    inputs : DataFrame
        Features of the rows.
    fidelity : float
        Share of the score's variance that the regressions explain.

    Returns
    -------
    Contributions
        Values of shape (n_rows, n_features); with the mean score they add up to the score.

    References
    ----------
    Lundberg et al. (2020), From local explanations to global understanding with explainable AI for trees, Nature
    Machine Intelligence 2.
    """
    totals: dict[str, Floats] = {}
    for part, weight in ranking.weights.items():
        model = ranking.models[part]
        for name, values in zip(model.features, model.contributions(inputs).T, strict=True):
            totals[name] = totals.get(name, np.zeros(len(inputs))) + weight * values
    return Contributions(tuple(totals), np.column_stack(list(totals.values())), fidelity)


def _direction(feature: Feature, inputs: "pd.DataFrame", said: Contributions) -> str | None:
    if feature.name not in said.names:
        return None
    if feature.kind != "numeric":
        return "by category"
    return direction_of(inputs[feature.name], said.values[:, said.names.index(feature.name)], (UP, DOWN))


def contrast_of(feature: Feature, column: "pd.Series[float]", is_top: Mask) -> Contrast:
    """Compare a feature's values among the top rows with those of the rest.

    Parameters
    ----------
    feature : Feature
        The feature.
    column : Series of shape (n_rows,)
        Its values.
    is_top : ndarray of shape (n_rows,)
        Which rows are at the top; some are, and some are not.

    Returns
    -------
    Contrast
        Of means; or of shares where a level, or being known, tells the rows apart more.
    """
    if feature.kind == "categorical":
        found = [
            _of_shares(str(level), column.cat.codes.to_numpy() == code, is_top)
            for code, level in enumerate(column.cat.categories)
        ]
        return max(found, key=lambda contrast: abs(contrast.difference))
    values = column.to_numpy().astype(np.float64)
    known = np.isfinite(values)
    by_known = _of_shares(KNOWN, known, is_top)
    if not (known[is_top].any() and known[~is_top].any()):
        return by_known
    by_mean = _of_means(None, values[known], is_top[known])
    return max(by_mean, by_known, key=lambda contrast: abs(contrast.difference))


def _of_shares(level: str, holds: Mask, is_top: Mask) -> Contrast:
    return _of_means(level, holds.astype(np.float64), is_top)


def _of_means(level: str | None, values: Floats, is_top: Mask) -> Contrast:
    top, rest, spread = float(values[is_top].mean()), float(values[~is_top].mean()), float(values.std())
    return Contrast(level, top, rest, (top - rest) / spread if spread > 0 else 0.0)


def words_of(feature: Feature, contrast: Contrast) -> str:
    """Say one contrast in words, as "cart so far: 92 % in the top tenth, 3 % in the rest"."""
    if contrast.level is None and not feature.is_flag:
        top, rest = (
            f"{mean:,.3g}" if abs(mean) < 1000 else f"{mean:,.0f}" for mean in (contrast.top_mean, contrast.rest_mean)
        )
        return f"{feature.label}: {top} on average in the top tenth, {rest} in the rest"
    top, rest = (f"{100 * share:.{1 if share < 0.1 else 0}f} %" for share in (contrast.top_mean, contrast.rest_mean))
    level = {None: "", KNOWN: " known", NONE: " not known"}.get(contrast.level, f" {contrast.level}")
    return f"{feature.label}{level}: {top} in the top tenth, {rest} in the rest"


def most_different(profile: Sequence[UpliftFeature], most: int) -> list[UpliftFeature]:
    """Return the features that tell the top tenth from the rest most; differences below 0.1 are left out."""
    return [entry for entry in profile if abs(entry.difference) >= 0.1][:most]


def strongest(profile: Sequence[UpliftFeature], most: int) -> list[UpliftFeature]:
    """Return the features that move the score most."""
    moving = [entry for entry in profile if entry.mean_abs_shap]
    return sorted(moving, key=lambda entry: entry.shap_rank or 0)[:most]
