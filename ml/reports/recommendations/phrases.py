"""Phrases that several sections share."""

import math

from ml.policy.planner import Plan
from ml.policy.projection import Projection
from ml.reports.facts import UpliftFacts
from ml.reports.wording import UNDEFINED, money

# A longer experiment outlives the shop it started in: season, range and prices.
LONGEST_DAYS = 365


def conversions_text(entry: Projection) -> str:
    """Return extra conversions with their interval."""
    return money(
        entry.incremental_conversions, entry.incremental_conversions_ci_lower, entry.incremental_conversions_ci_upper
    )


def profit_text(entry: Projection) -> str:
    """Return a profit with its interval."""
    return money(entry.profit, entry.profit_ci_lower, entry.profit_ci_upper)


def points(lift: float | None) -> str:
    """Return a share in percentage points, as "1.25"."""
    return UNDEFINED if lift is None else f"{round(100 * lift, 2) + 0:.2f}"


def group_text(facts: UpliftFacts, share_percent: int) -> str:
    """Name the sessions that a share targets."""
    some = f"the {share_percent} % of {facts.units} with the highest uplift"
    return f"all {facts.units}" if share_percent == 100 else some


def terms_text(facts: UpliftFacts) -> str:
    """State cost and revenue."""
    policy = facts.config.policy
    worth = money(policy.revenue_per_conversion)
    if policy.value_column is not None:
        worth = f"`{policy.value_column}` (else {worth})"
    return f"at a cost of {money(policy.cost)} per {paid_per(facts)} and a revenue of {worth} per conversion"


def paid_per(facts: UpliftFacts) -> str:
    """Name what the cost is paid for."""
    by_redemption = facts.config.policy.cost_per == "redemption"
    return "conversion of the treated" if by_redemption else f"treated {facts.units.removesuffix('s')}"


def period_text(facts: UpliftFacts) -> str:
    """Name what money is stated for."""
    everybody = facts.projection("random", 100)
    eligible = f"{everybody.eligible_sessions:,.0f} eligible {facts.units}" if everybody else f"eligible {facts.units}"
    return f"{facts.config.policy.horizon_days:g} days ({eligible})" if facts.first_at is not None else eligible


def takes_too_long(facts: UpliftFacts, plan: Plan) -> bool:
    """Whether a plan needs more days than a shop stays the same."""
    return facts.first_at is not None and plan.days_needed is not None and plan.days_needed > LONGEST_DAYS


def shown_by_traffic(facts: UpliftFacts, plan: Plan) -> str:
    """Say what lift the traffic of the longer time shows."""
    if facts.first_at is None or plan.smallest_lift_long is None:
        return ""
    lift = points(plan.smallest_lift_long)
    return f": {plan.days_long} days of this group's traffic show a lift of {lift} percentage points or more"


def size_text(facts: UpliftFacts, plan: Plan) -> str:
    """State the size of a planned experiment."""
    days = (
        ""
        if facts.first_at is None or plan.days_needed is None
        else f", {math.ceil(plan.days_needed):,} days at today's traffic (run whole weeks)"
    )
    return f"{plan.sessions_per_arm:,} {facts.units} in each arm{days}"
