"""What the recommendations and the uplift figures speak of."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml.arrays import Floats
from ml.config import Config
from ml.experiment.designed import AverageEffect
from ml.policy.ab_test import SimulatedTest
from ml.policy.next_experiment import NextExperiment
from ml.policy.planner import Plan
from ml.policy.projection import Projection
from ml.policy.values import PolicyValue
from ml.policy.whom import Whom
from ml.reports.funnel import FunnelFacts
from ml.run import Stamp
from ml.uplift.choice import UpliftCandidate
from ml.uplift.deciles import UpliftDecile
from ml.uplift.evaluate import Evaluation
from ml.uplift.metrics import UpliftMetric
from ml.uplift.names import CHOSEN, T_LEARNER, TITLES


@dataclass(frozen=True)
class Difference:
    """A paired difference with its interval."""

    value: float
    ci_lower: float
    ci_upper: float

    @classmethod
    def of(cls, entry: UpliftMetric) -> "Difference":
        """Take a metric's value and interval."""
        return cls(entry.value, entry.ci_lower, entry.ci_upper)

    def in_points(self) -> "Difference":
        """Return it in percentage points."""
        return Difference(100 * self.value, 100 * self.ci_lower, 100 * self.ci_upper)

    @property
    def is_real(self) -> bool:
        """Whether the interval excludes 0."""
        return self.ci_lower > 0 or self.ci_upper < 0

    def verdict(self, above: str, below: str) -> str:
        """Say in words what the interval shows: it is above 0, below 0, or neither."""
        if not self.is_real:
            return "no difference shown"
        return above if self.ci_lower > 0 else below


@dataclass(frozen=True)
class UpliftFacts:
    """Everything that the recommendations and the uplift figures speak of.

    `source` says where the arms come from; `eligible` which sessions could be treated (the decision point). `first_at`
    and `last_at` bound the test split; None for an experiment without time. `tested_share` is the share in percent of
    the plan that is advised and that `tests` plays through; None where there is none. `quadrant_counts` counts the test
    rows. `pehe` is the root mean squared error of the estimated against the true effect, `pehe_constant` that of one
    average for all; None where the truth is not known. `mismatch_p` is the sample ratio's p-value, None where no share
    was designed; `balance_worst` the feature in which the arms differ most: name, standardised mean difference,
    p-value. `curves` maps a learner to shares of rows (0 to 1) and incremental conversions per 1,000 rows; `comparison`
    is what the choice among the candidates was made by. `units` is what a row is, in the plural; `average` the average
    effect of an experiment from a file, as it was designed, and `notes` how the file was read. `whom` says in words who
    gains.
    """

    config: Config
    run_id: str
    model_version: str
    finished_at: datetime
    source: str
    eligible: str
    is_simulated: bool
    is_synthetic: bool
    first_at: str | None
    last_at: str | None
    metrics: list[UpliftMetric]
    deciles: list[UpliftDecile]
    policy: PolicyValue
    plans: list[Plan]
    tests: list[SimulatedTest]
    tested_share: int | None
    quadrant_counts: dict[str, int]
    placebo_qini: UpliftMetric | None
    pehe: float | None
    pehe_constant: float | None
    mismatch_p: float | None
    balance_worst: tuple[str, float, float] | None
    funnel: FunnelFacts | None
    curves: dict[str, tuple[Floats, Floats]]
    comparison: list[UpliftCandidate]
    units: str = "sessions"
    average: AverageEffect | None = None
    whom: Whom | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        config: Config,
        stamp: Stamp,
        evaluation: Evaluation,
        value: PolicyValue,
        plan: NextExperiment,
        **others: Any,
    ) -> "UpliftFacts":
        """Put the facts of a run together.

        Parameters
        ----------
        config : Config
            Settings.
        stamp : Stamp
            Run, model version, time, and what is made up.
        evaluation : Evaluation
            How good the scores are.
        value : PolicyValue
            What they are worth.
        plan : NextExperiment
            The experiment to run next.
        **others
            The fields that these do not hold.

        Returns
        -------
        UpliftFacts
            The facts.
        """
        return cls(
            config=config,
            run_id=stamp.run_id,
            model_version=stamp.model_version,
            finished_at=stamp.scored_at,
            is_simulated=stamp.is_simulated,
            is_synthetic=stamp.is_synthetic,
            metrics=evaluation.metrics,
            deciles=evaluation.deciles,
            placebo_qini=evaluation.placebo,
            pehe=evaluation.truth.pehe if evaluation.truth else None,
            pehe_constant=evaluation.truth.pehe_constant if evaluation.truth else None,
            curves=evaluation.curves,
            comparison=evaluation.comparison,
            policy=value,
            plans=plan.plans,
            tests=plan.tests,
            tested_share=plan.tested_share,
            **others,
        )

    def metric(self, learner: str, metric: str, versus: str = "") -> UpliftMetric | None:
        """Return one metric of one learner, or None where it was not measured."""
        key = (learner, metric, versus)
        return next((entry for entry in self.metrics if (entry.learner, entry.metric, entry.versus) == key), None)

    def projection(self, strategy: str, share_percent: int) -> Projection | None:
        """Return what a strategy earns at a share, or None where that was not valued, as for 0."""
        key = (strategy, share_percent)
        return next((p for p in self.policy.projections if (p.strategy, p.share_percent) == key), None)

    @property
    def chosen(self) -> Projection | None:
        """The uplift strategy at the share chosen on the calibration split; None where that is nobody."""
        return self.projection("uplift", self.policy.chosen["uplift"])

    @property
    def earns(self) -> bool:
        """Whether the chosen plan's profit is above zero with its whole interval."""
        return self.chosen is not None and self.chosen.profit_ci_lower > 0

    @property
    def is_confirmed(self) -> bool:
        """Whether inverse propensity, the second method, comes to the same verdict on the chosen plan."""
        if self.chosen is None or self.chosen.profit_ipw_ci_lower is None:
            return False
        return (self.chosen.profit_ipw_ci_lower > 0) == self.earns

    @property
    def learner(self) -> str:
        """The candidate whose scores are published."""
        return next((entry.learner for entry in self.comparison if entry.is_chosen), T_LEARNER)

    @property
    def title(self) -> str:
        """What people call that candidate."""
        return TITLES[self.learner]

    @property
    def own_deciles(self) -> list[UpliftDecile]:
        """The chosen candidate's deciles, the highest first."""
        return sorted((entry for entry in self.deciles if entry.learner == CHOSEN), key=lambda entry: entry.decile)

    @property
    def predicts_one_effect(self) -> bool:
        """Whether the chosen candidate ranks but predicts the same effect for all, to far less than a reader sees."""
        predicted = [entry.predicted_uplift for entry in self.own_deciles]
        return bool(predicted) and max(predicted) - min(predicted) < 1e-9

    @property
    def planned(self) -> Plan | None:
        """The experiment to run next."""
        return next((plan for plan in self.plans if plan.share_percent == self.tested_share), None)

    @property
    def marks(self) -> str:
        """What every title and money table must say first; empty where effects and visitors are real."""
        marks = [("SIMULATED EFFECTS", self.is_simulated), ("SYNTHETIC DATA", self.is_synthetic)]
        return ", ".join(mark for mark, holds in marks if holds)

    @property
    def confidence(self) -> str:
        """The level of every interval, as "95 %"."""
        return f"{100 * self.config.evaluation.confidence:g} %"
