"""What the learners say of every row of an experiment, and the rows of `uplift_scores`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats, Rows
from ml.experiment.experiment import SPLITS, Experiment
from ml.uplift.challengers import without_econml_warnings
from ml.uplift.effect_scale import Prediction
from ml.uplift.learners import Fits
from ml.uplift.names import RANDOM, RESPONSE, T_LEARNER
from ml.uplift.ranks import deciles, percentile_ranks
from ml.uplift.t_learner import TLearner

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Scores:
    """What the learners say of every row; training rows are scored by models of the other folds.

    `by_learner` maps each learner and baseline to the score that ranks, NaN where a challenger was not asked.
    `percentiles` maps the T-learner and the response baseline to ranks against the calibration rows, 0 to 1; `decile`
    is the T-learner's, 1 the highest.
    """

    prediction: Prediction
    response: Floats
    by_learner: dict[str, Floats]
    percentiles: dict[str, Floats]
    decile: npt.NDArray[np.int8]


def score_rows(experiment: Experiment, fits: Fits, seed: int, ties: Floats | None = None) -> Scores:
    """Score every row of an experiment by the T-learner and the baselines, calibration and test rows by all.

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
    prediction = _predict_all(fits.t_learner, experiment.inputs, experiment.rows("train"))
    response = fits.response.probability(experiment.inputs)
    scores = {T_LEARNER: prediction.score}
    asked = experiment.rows("calibration", "test")
    for name, predict in fits.challengers.items():
        scores[name] = np.full(len(experiment), np.nan)
        with without_econml_warnings():
            scores[name][asked] = predict(asked)
    scores |= {RESPONSE: response, RANDOM: np.random.default_rng(seed).random(len(experiment))}
    calibration = experiment.rows("calibration")
    if ties is None:
        ties = np.random.default_rng(seed).random(len(experiment))
    percentiles = {
        name: percentile_ranks(scores[name][calibration], scores[name], ties) for name in (T_LEARNER, RESPONSE)
    }
    return Scores(prediction, response, scores, percentiles, deciles(percentiles[T_LEARNER]))


def _predict_all(learner: TLearner, inputs: "pd.DataFrame", train: Rows) -> Prediction:
    """Predict every row, the training rows by models of the other folds."""
    whole, crossed = learner.predict(inputs), learner.predict_training_rows()
    for name, values in vars(crossed).items():
        getattr(whole, name)[train] = values
    return whole


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
        "uplift_percentile": scores.percentiles[T_LEARNER],
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
