"""From an experiment to scores and how good they are."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from ml.arrays import Floats
from ml.cli import Steps
from ml.config import Config
from ml.data.features import Mart
from ml.data.split import MODEL_SPLITS
from ml.experiment.average_effect import average_effect
from ml.experiment.experiment import SPLITS, Experiment
from ml.uplift.calibration import uplift_calibration
from ml.uplift.curves import qini_curve, rank_order
from ml.uplift.deciles import UpliftDecile, decile_table
from ml.uplift.learners import Learned, fit_learners
from ml.uplift.metrics import UpliftMetric, evaluate_uplift
from ml.uplift.names import PLACEBO, RANDOM, RESPONSE, T_LEARNER
from ml.uplift.ranks import deciles, percentile_ranks
from ml.uplift.truth import pehe

if TYPE_CHECKING:
    import pyarrow as pa

CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Judged:
    """What the learners said of every row of an experiment, and how good that was on the test slice.

    `columns` are those of `uplift_scores` that need no id; `pehe` and `pehe_constant` are null where the truth is not
    known.
    """

    learned: Learned
    columns: "dict[str, tuple[pa.Array, bool]]"
    metrics: list[UpliftMetric]
    deciles: list[UpliftDecile]
    curves: dict[str, tuple[Floats, Floats]]
    pehe: float | None
    pehe_constant: float | None


def judge(experiment: Experiment, mart: Mart, config: Config, steps: Steps) -> Judged:
    """Fit all learners, score every row and judge the scores on the test slice.

    Parameters
    ----------
    experiment : Experiment
        Rows with arms that were found to be random.
    mart : Mart
        Features.
    config : Config
        Settings.
    steps : Steps
        Shows what is being done.

    Returns
    -------
    Judged
        Scores and metrics.
    """
    learned = fit_learners(experiment, mart, config, steps.step)
    prediction, settings, confidence = learned.prediction, config.uplift, config.evaluation.confidence
    calibration, test = experiment.rows("calibration"), experiment.rows("test")
    arms = (experiment.treatment[test], experiment.outcome[test])
    visitor, simulated = experiment.visitor[test], experiment.is_simulated
    with steps.step("judging all learners on the test slice"):
        ties = np.random.default_rng(config.seed).random(len(experiment))
        percentile = {
            name: percentile_ranks(learned.scores[name][calibration], learned.scores[name], ties)
            for name in (T_LEARNER, RESPONSE)
        }
        decile = deciles(percentile[T_LEARNER])
        scores = {name: score[test] for name, score in learned.scores.items()}
        metrics = evaluate_uplift(scores, *arms, visitor, settings, confidence, config.seed, config.threads, simulated)
        everyone = np.flatnonzero(np.isin(experiment.split, [SPLITS.index(name) for name in MODEL_SPLITS]))
        metrics.append(_average_effect_of_all(experiment, everyone, confidence))
        metrics += uplift_calibration(
            T_LEARNER, prediction.uplift[test], *arms, visitor, CALIBRATION_BINS, settings, confidence, config.seed,
            simulated,
        )  # fmt: skip
        metrics.append(_placebo_qini(learned, arms[1], visitor, config, simulated))
        truth = experiment.truth
        table = decile_table(
            T_LEARNER, decile[test], prediction.uplift[test], *arms, visitor,
            None if truth is None else truth.effect[test], settings, confidence, config.seed, simulated,
        )  # fmt: skip
    return Judged(
        learned=learned,
        columns=_columns(experiment, learned, percentile, decile),
        metrics=metrics,
        deciles=table,
        curves=_curves(scores, *arms, config.seed),
        pehe=None if truth is None else pehe(prediction.uplift[test], truth.effect[test]),
        pehe_constant=None
        if truth is None
        else pehe(np.full(len(test), truth.effect[test].mean()), truth.effect[test]),
    )


def _average_effect_of_all(experiment: Experiment, rows: npt.NDArray[np.intp], confidence: float) -> UpliftMetric:
    """The average effect on the rows of all slices: it needs no model, so that none is held back for a test."""
    treatment = experiment.treatment[rows]
    effect = average_effect(treatment, experiment.outcome[rows], experiment.visitor[rows], confidence)
    treated = int((treatment == 1).sum())
    return UpliftMetric(
        "all",
        "",
        "average_effect_all_slices",
        *effect,
        len(rows),
        treated,
        len(rows) - treated,
        experiment.is_simulated,
    )


def _curves(
    scores: dict[str, Floats], treatment: npt.NDArray[np.int8], outcome: npt.NDArray[np.int8], seed: int
) -> dict[str, tuple[Floats, Floats]]:
    """Qini curves: share of rows targeted, and incremental conversions per 1,000 rows; a random order is a line."""
    curves = {}
    for name, score in scores.items():
        rank = np.empty(len(score))
        rank[rank_order(score, seed)] = -np.arange(len(score))
        targeted, conversions = qini_curve(rank, treatment, outcome)
        share, gain = targeted / len(score), conversions / treatment.sum() * 1000
        curves[name] = (share[[0, -1]], gain[[0, -1]]) if name == RANDOM else (share, gain)
    return curves


def _columns(
    experiment: Experiment, learned: Learned, percentile: dict[str, Floats], decile: npt.NDArray[np.int8]
) -> "dict[str, tuple[Any, bool]]":
    import pyarrow as pa

    prediction, truth = learned.prediction, experiment.truth
    rows = len(experiment)
    nothing = pa.nulls(rows, pa.string())

    def known(values: npt.NDArray[np.int8]) -> "pa.Array":
        return pa.array(values.astype(np.int32), mask=values < 0)

    segment = nothing
    if truth is not None:
        segment = pa.DictionaryArray.from_arrays(
            pa.array(truth.segment.astype(np.int32), mask=truth.segment < 0), pa.array(truth.segments, pa.string())
        )
    split = pa.DictionaryArray.from_arrays(pa.array(experiment.split), pa.array(SPLITS, pa.string()))
    return {
        "treatment": (known(experiment.treatment), True),
        "outcome": (known(experiment.outcome), True),
        "p_control": (pa.array(prediction.p_control), False),
        "p_treatment": (pa.array(prediction.p_treatment), False),
        "uplift": (pa.array(prediction.uplift), False),
        "score": (pa.array(prediction.score), False),
        "uplift_percentile": (pa.array(percentile[T_LEARNER]), False),
        "decile": (pa.array(decile.astype(np.int32)), False),
        "response_probability": (pa.array(learned.response), False),
        "response_percentile": (pa.array(percentile[RESPONSE]), False),
        "quadrant": (nothing, False),
        "own_value": (pa.nulls(rows, pa.float64()), True),
        "segment": (segment, True),
        "true_effect": (pa.nulls(rows, pa.float64()) if truth is None else pa.array(truth.effect), True),
        "dataset_split": (split, False),
        "is_simulated": (pa.repeat(experiment.is_simulated, rows), False),
    }


def _placebo_qini(
    learned: Learned,
    outcome: npt.NDArray[np.int8],
    visitor: npt.NDArray[np.int32],
    config: Config,
    is_simulated: bool,
) -> UpliftMetric:
    """Mean Qini coefficient of the placebos; as an alarm, with an interval that chance leaves once in 1,000."""
    confidence = config.evaluation.confidence
    # The placebos' errors are pooled, so together they need no more resamples than one.
    resamples = max(20, config.uplift.bootstrap_resamples // config.uplift.placebo_runs)
    settings = config.uplift.model_copy(update={"bootstrap_resamples": resamples})
    found = [
        entry
        for arms, score in learned.placebos
        for entry in evaluate_uplift(
            {PLACEBO: score}, arms, outcome, visitor, settings, confidence, config.seed, config.threads,
            is_simulated,
        )
        if (entry.learner, entry.metric, entry.versus) == (PLACEBO, "qini", "")
    ]  # fmt: skip
    widths = np.array([entry.ci_upper - entry.ci_lower for entry in found])
    error = np.sqrt((widths**2).mean() / len(found)) / (2 * norm.isf((1 - confidence) / 2))
    mean, reach = float(np.mean([entry.value for entry in found])), float(norm.isf(0.0005) * error)
    return replace(found[0], value=mean, ci_lower=mean - reach, ci_upper=mean + reach)
