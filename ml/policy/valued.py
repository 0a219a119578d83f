"""From scores to money, and to the experiment to run next."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml.config import Config
from ml.policy.planner import Plan, SimulatedTest, ab_test_simulation, experiment_plan
from ml.policy.quadrants import QUADRANTS
from ml.policy.scored import scored
from ml.policy.values import PolicyValue, value_policies

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Valued:
    """What the scores are worth, and the experiment to run next; `tested_share` is that of the plan played through."""

    policy: PolicyValue
    plans: list[Plan]
    tests: list[SimulatedTest]
    tested_share: int | None
    quadrant_counts: dict[str, int]


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


def _plan_to_run(plans: list[Plan], chosen: int) -> Plan | None:
    """The plan of the share that would be targeted; where that is nobody, the one that is done soonest."""
    for plan in plans:
        if plan.share_percent == chosen:
            return plan
    return min(plans, key=lambda plan: (plan.days_needed is None, plan.days_needed or 0.0), default=None)
