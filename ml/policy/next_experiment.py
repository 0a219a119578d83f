"""The experiment to run next: which share of sessions, how large, and what runs of it would show."""

from dataclasses import dataclass

from ml.config import Config
from ml.policy.ab_test import SimulatedTest, ab_test_simulation
from ml.policy.estimates import Scored
from ml.policy.planner import Plan, experiment_plan


@dataclass(frozen=True)
class NextExperiment:
    """A plan per share of sessions; `tests` are runs of the advised one, that of `tested_share` percent."""

    plans: list[Plan]
    tests: list[SimulatedTest]
    tested_share: int | None


def plan_next(test: Scored, chosen: int, rows_per_day: float, config: Config) -> NextExperiment:
    """Plan the experiment to run next and play it through.

    Parameters
    ----------
    test : Scored
        Rows of the test split.
    chosen : int
        Share in percent that the uplift strategy would target, 0 for nobody.
    rows_per_day : float
        Sessions per day at the decision point.
    config : Config
        Settings.

    Returns
    -------
    NextExperiment
        Plans, and runs of the one that is advised.
    """
    shares = sorted({*config.planner.shares, *([chosen] if chosen else [])})
    settings = config.planner.model_copy(update={"shares": shares})
    plans = experiment_plan(test, rows_per_day, settings)
    plan = _advised(plans, chosen)
    if plan is None:
        return NextExperiment(plans, [], None)
    # Where no lift is expected no size would prove it: play through what the traffic of the longer time allows.
    per_arm = plan.sessions_per_arm or max(1, round(plan.sessions_per_day * plan.share_percent / 200 * plan.days_long))
    treatment_rate = plan.control_rate + plan.expected_lift
    tests = ab_test_simulation(plan.control_rate, treatment_rate, per_arm, settings, config.seed)
    return NextExperiment(plans, tests, plan.share_percent)


def _advised(plans: list[Plan], chosen: int) -> Plan | None:
    """The plan of the share that would be targeted; where that is nobody, the one that is done soonest."""
    for plan in plans:
        if plan.share_percent == chosen:
            return plan
    return min(plans, key=lambda plan: (plan.days_needed is None, plan.days_needed or 0.0), default=None)
