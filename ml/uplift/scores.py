"""What the learners say of every row of an experiment, and the rows of `uplift_scores`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats
from ml.experiment.experiment import SPLITS, Experiment
from ml.uplift.effect_scale import Prediction
from ml.uplift.learners import Fits
from ml.uplift.names import CHOSEN, RANDOM, RESPONSE, T_LEARNER
from ml.uplift.ranks import deciles, percentile_ranks

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Scores:
    """What the learners say of every row; training and calibration rows are scored by models of the other folds.

    `chosen` is the candidate that `prediction` is of. `by_learner` maps each candidate and baseline, and CHOSEN, to the
    score that ranks, NaN where another candidate was not asked. `percentiles` maps CHOSEN and the response baseline to
    ranks against the calibration rows, 0 to 1; `decile` is that of CHOSEN, 1 the highest.
    """

    chosen: str
    prediction: Prediction
    response: Floats
    by_learner: dict[str, Floats]
    percentiles: dict[str, Floats]
    decile: npt.NDArray[np.int8]


def score_rows(experiment: Experiment, fits: Fits, seed: int, ties: Floats | None = None) -> Scores:
    """Score every row of an experiment by the chosen candidate and the baselines, test rows by all candidates.

    Parameters
    ----------
    experiment : Experiment
        Rows with their arms.
    fits : Fits
        What was fitted on them.
    seed : int
        Seed of the random order and of the order among ties.
    ties : ndarray of shape (n_rows,), optional
        Numbers from 0 to 1 that put ties in order, where rows of another table will be ranked in the same way.

    Returns
    -------
    Scores
        Every array of shape (n_rows,).
    """
    prediction, response = fits.model.predict(experiment.inputs)
    for name, values in vars(fits.predict_evidence()).items():
        getattr(prediction, name)[fits.evidence.rows] = values
    scores = {CHOSEN: prediction.score}
    scores |= _others(experiment, fits, response)
    scores |= {RESPONSE: response, RANDOM: np.random.default_rng(seed).random(len(experiment))}
    calibration = experiment.rows("calibration")
    if ties is None:
        ties = np.random.default_rng(seed).random(len(experiment))
    percentiles = {name: percentile_ranks(scores[name][calibration], scores[name], ties) for name in (CHOSEN, RESPONSE)}
    return Scores(fits.chosen, prediction, response, scores, percentiles, deciles(percentiles[CHOSEN]))


def _others(experiment: Experiment, fits: Fits, response: Floats) -> dict[str, Floats]:
    """Ask all candidates about the test rows; what they say of training and calibration rows is known."""
    test = experiment.rows("test")
    inputs = experiment.inputs.iloc[test]
    p_control, p_treatment = fits.t_learner.probabilities(inputs)
    parts = {T_LEARNER: p_treatment - p_control, RESPONSE: response[test]}
    found = {}
    for name, candidate in fits.candidates.items():
        if name == RESPONSE:
            continue
        ranking = candidate.ranking
        parts |= {part: model.effect(inputs) for part, model in ranking.models.items() if part not in parts}
        found[name] = np.full(len(experiment), np.nan)
        found[name][fits.evidence.rows], found[name][test] = candidate.crossed, ranking.score(parts)
    return found


def score_table(
    identity: "pa.Table", experiment: Experiment, scores: Scores, own_value: "pa.Array | None" = None
) -> "pa.Table":
    """Lay out the rows of `uplift_scores`, without quadrants.

    Parameters
    ----------
    identity : pyarrow.Table
        The columns that name each row.
    experiment : Experiment
        The same rows.
    scores : Scores
        What the learners say of them.
    own_value : pyarrow.Array, optional
        What a conversion of each row is worth; null where it is worth what the settings say.

    Returns
    -------
    pyarrow.Table
        One row per row of the experiment.
    """
    import pyarrow as pa

    rows, truth, prediction = len(experiment), experiment.truth, scores.prediction
    texts, numbers = pa.nulls(rows, pa.string()), pa.nulls(rows, pa.float64())
    columns = {name: identity.column(name) for name in identity.column_names} | {
        "treatment": _where_known(experiment.treatment),
        "outcome": _where_known(experiment.outcome),
        "p_control": prediction.p_control,
        "p_treatment": prediction.p_treatment,
        "uplift": prediction.uplift,
        "score": prediction.score,
        "uplift_percentile": scores.percentiles[CHOSEN],
        "decile": scores.decile.astype(np.int32),
        "response_probability": scores.response,
        "response_percentile": scores.percentiles[RESPONSE],
        "quadrant": texts,
        "own_value": numbers if own_value is None else own_value,
        "segment": texts if truth is None else _named(truth.segment, truth.segments),
        "true_effect": numbers if truth is None else truth.effect,
        "dataset_split": _named(experiment.split, SPLITS),
    }
    return pa.table(columns)


def _where_known(values: Codes) -> "pa.Array":
    import pyarrow as pa

    return pa.array(values.astype(np.int32), mask=values < 0)


def _named(codes: Codes, names: tuple[str, ...]) -> "pa.DictionaryArray":
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(_where_known(codes), pa.array(names, pa.string()))
