"""From an experiment to judged scores, and from scores to money: what every road to an answer shares."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from ml.config import Config
from ml.experiment import SPLITS, Experiment
from ml.features import Mart, to_codes
from ml.learners import RANDOM, RESPONSE, T_LEARNER, Learned, fit_learners
from ml.planner import Plan, SimulatedTest, ab_test_simulation, experiment_plan
from ml.policy import (
    QUADRANTS,
    PolicyValue,
    Scored,
    deciles,
    percentile_ranks,
    quadrants,
    value_policies,
)
from ml.publish import write_json
from ml.recommendations import UpliftFacts, recommendations
from ml.split import SLICES
from ml.uplift_figures import draw_uplift_figures
from ml.uplift_metrics import (
    UpliftDecile,
    UpliftMetric,
    average_effect,
    decile_table,
    evaluate_uplift,
    pehe,
    qini_curve,
    rank_order,
    uplift_calibration,
)

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]
PLACEBO = "placebo"
CALIBRATION_BINS = 10


class Steps(Protocol):
    """Shows what is being done."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Show a step while the block runs."""


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


@dataclass(frozen=True)
class Valued:
    """What the scores are worth, and the experiment to run next; `tested_share` is that of the plan played through."""

    policy: PolicyValue
    plans: list[Plan]
    tests: list[SimulatedTest]
    tested_share: int | None
    quadrant_counts: dict[str, int]


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
        everyone = np.flatnonzero(np.isin(experiment.split, [SPLITS.index(name) for name in SLICES]))
        metrics.append(_average_effect_of_all(experiment, everyone, confidence))
        metrics += uplift_calibration(
            T_LEARNER, prediction.uplift[test], *arms, visitor, CALIBRATION_BINS, settings, confidence, config.seed,
            simulated,
        )  # fmt: skip
        metrics.append(_placebo(learned, arms[1], visitor, config, simulated))
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


def scored(rows: "pa.Table", split: str, config: Config) -> Scored:
    """Take one slice of `uplift_scores` as a policy sees it.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows of `uplift_scores`.
    split : str
        Slice.
    config : Config
        Settings; revenue_per_conversion counts where a row has no value of its own.

    Returns
    -------
    Scored
        The slice's rows.
    """
    import pyarrow.compute as pc

    part = rows.filter(pc.equal(rows.column("dataset_split").cast("string"), split))

    def numbers(name: str) -> Floats:
        return np.asarray(part.column(name).to_numpy(), dtype=np.float64)

    return Scored(
        treatment=numbers("treatment").astype(np.int8),
        outcome=numbers("outcome").astype(np.int8),
        p_control=numbers("p_control"),
        p_treatment=numbers("p_treatment"),
        percentiles={name: numbers(f"{name}_percentile") for name in ("uplift", "response")},
        value=own_value(part, config),
        visitor=to_codes(part.column("visitor_id")),
    )


def own_value(rows: "pa.Table", config: Config) -> Floats:
    """Return what a conversion of each row of `uplift_scores` is worth.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows of `uplift_scores`.
    config : Config
        Settings.

    Returns
    -------
    array of float
        The row's own value, else revenue_per_conversion.
    """
    import pyarrow.compute as pc

    return np.asarray(
        pc.fill_null(rows.column("own_value"), config.policy.revenue_per_conversion).to_numpy(), dtype=np.float64
    )


def with_quadrants(rows: "pa.Table", usual_rate: float, config: Config) -> "pa.Table":
    """Set the quadrants of `uplift_scores` for today's costs.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows of `uplift_scores`.
    usual_rate : float
        Conversion rate of the control arm in training.
    config : Config
        Settings.

    Returns
    -------
    pyarrow.Table
        The same rows with column quadrant.
    """
    import pyarrow as pa

    p_control, p_treatment = (np.asarray(rows.column(name).to_numpy()) for name in ("p_control", "p_treatment"))
    codes = quadrants(p_control, p_treatment, own_value(rows, config), usual_rate, config.policy)
    named = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(QUADRANTS, pa.string()))
    return rows.set_column(rows.column_names.index("quadrant"), pa.field("quadrant", named.type, nullable=False), named)


def value(rows: "pa.Table", config: Config, eligible_rows: float, rows_per_day: float) -> Valued:
    """Value every policy and plan the experiment to run next.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows of `uplift_scores`, with quadrants.
    config : Config
        Settings.
    eligible_rows : float
        Sessions that money is stated for.
    rows_per_day : float
        Sessions a day at the decision point.

    Returns
    -------
    Valued
        Money, plans and simulated experiments.
    """
    import pyarrow.compute as pc

    simulated = bool(rows.column("is_simulated")[0].as_py())
    calibration, test = (scored(rows, name, config) for name in ("calibration", "test"))
    policy = value_policies(
        calibration, test, config.policy, eligible_rows, config.evaluation.confidence, config.seed, simulated
    )
    chosen = policy.chosen["uplift"]
    shares = sorted({*config.planner.shares, *([chosen] if chosen else [])})
    planner = config.planner.model_copy(update={"shares": shares})
    plans = experiment_plan(test, rows_per_day, planner, simulated)
    plan = _plan_to_run(plans, chosen)
    tests = []
    if plan is not None:
        # Where no lift is expected no size would prove it: play through what the traffic of the longer time allows.
        per_arm = plan.sessions_per_arm or max(
            1, round(plan.sessions_per_day * plan.share_percent / 200 * plan.days_long)
        )
        tests = ab_test_simulation(
            plan.control_rate, plan.control_rate + plan.expected_lift, per_arm, planner, config.seed, simulated
        )
    in_test = pc.equal(rows.column("dataset_split").cast("string"), "test")
    found = {
        entry["values"]: entry["counts"]
        for entry in pc.value_counts(rows.column("quadrant").cast("string").filter(in_test)).to_pylist()
    }
    return Valued(
        policy=policy,
        plans=plans,
        tests=tests,
        tested_share=plan.share_percent if plan else None,
        quadrant_counts={name: int(found.get(name, 0)) for name in QUADRANTS},
    )


def write_reports(folder: Path, facts: UpliftFacts, warnings: Sequence[str]) -> None:
    """Write the figures, the recommendations and every number behind them.

    Parameters
    ----------
    folder : Path
        The run's folder.
    facts : UpliftFacts
        Everything they speak of.
    warnings : sequence of str
        What a reader must know about the experiment.
    """
    draw_uplift_figures(folder / "figures", facts)
    (folder / "recommendations.md").write_text(recommendations(facts), encoding="utf-8")
    policy = facts.policy
    metrics = [*facts.metrics, *([facts.placebo_qini] if facts.placebo_qini else [])]
    write_json(
        folder / "metrics" / "uplift_metrics.json",
        {
            "run_id": facts.run_id,
            "model_version": facts.model_version,
            "source": facts.source,
            "is_simulated": facts.is_simulated,
            "is_synthetic": facts.is_synthetic,
            "warnings": list(warnings),
            "metrics": [asdict(entry) for entry in metrics],
            "deciles": [asdict(entry) for entry in facts.deciles],
            "pehe": facts.pehe,
            "pehe_constant": facts.pehe_constant,
            "quadrants_of_test_rows": facts.quadrant_counts,
            "policy": {
                "chosen_share_percent": policy.chosen,
                "break_even_share_percent": policy.break_even_share,
                "break_even_cost": policy.break_even_cost,
                "gains": [asdict(entry) for entry in policy.gains],
                "sensitivity": [asdict(entry) for entry in policy.sensitivity],
                "projections": [asdict(entry) for entry in policy.projections],
            },
            "plans": [asdict(entry) for entry in facts.plans],
        },
    )


def _plan_to_run(plans: list[Plan], chosen: int) -> Plan | None:
    """The plan of the share that would be targeted; where that is nobody, the one that is done soonest."""
    for plan in plans:
        if plan.share_percent == chosen:
            return plan
    return min(plans, key=lambda plan: (plan.days_needed is None, plan.days_needed or 0.0), default=None)


def _placebo(
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
