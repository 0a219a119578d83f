"""Policies beside each other, as the tables of the warehouse hold them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ml.policy.offers import PolicyTotals

Interval = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class PolicyRow:
    """One row of `policy_values`: what a policy does over the horizon, in money, against making nobody an offer."""

    policy: str
    policy_number: int
    is_chosen: bool
    budget_reach: float
    eligible_sessions: float
    treated_sessions: float
    incremental_conversions: float
    incremental_conversions_ci_lower: float
    incremental_conversions_ci_upper: float
    incremental_revenue: float
    incremental_revenue_ci_lower: float
    incremental_revenue_ci_upper: float
    cost: float
    profit: float
    profit_ci_lower: float
    profit_ci_upper: float
    capped_profit: float
    capped_profit_ci_lower: float
    capped_profit_ci_upper: float
    profit_over_single: float | None
    profit_over_single_ci_lower: float | None
    profit_over_single_ci_upper: float | None
    profit_over_random: float | None
    profit_over_random_ci_lower: float | None
    profit_over_random_ci_upper: float | None


@dataclass(frozen=True)
class PolicyOffer:
    """One row of `policy_offers`: how many sessions a policy makes an offer to, over the horizon."""

    policy: str
    offer: str
    treated_sessions: float


def policy_rows(totals: Sequence[PolicyTotals], eligible: float) -> tuple[list[PolicyRow], list[PolicyOffer]]:
    """Lay out what policies earn.

    Parameters
    ----------
    totals : sequence of PolicyTotals
        The policies, in the order in which they are shown.
    eligible : float
        Sessions at the decision point over the horizon.

    Returns
    -------
    list of PolicyRow
        One per policy.
    list of PolicyOffer
        One per policy and offer.
    """
    unknown: Interval = (None, None, None)
    rows = [
        PolicyRow(
            entry.name,
            number,
            entry.is_chosen,
            entry.reach,
            eligible,
            sum(entry.treated.values()),
            *entry.conversions,
            *entry.revenue,
            entry.cost,
            *entry.profit,
            *entry.capped_profit,
            *(entry.against_single or unknown),
            *(entry.against_random or unknown),
        )
        for number, entry in enumerate(totals, start=1)
    ]
    offers = [PolicyOffer(entry.name, offer, count) for entry in totals for offer, count in entry.treated.items()]
    return rows, offers
