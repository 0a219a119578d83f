"""Where the funnel loses most, as the recommendations say it."""

from dataclasses import dataclass

from warehouse.base import Warehouse

FUNNEL_SQL = """
select step, next_step, entered, dropped_off, dropoff_rate, revenue_lost
from funnelift.funnel_dropoff
where breakdown = 'all'
order by dropoff_rate desc, step_number asc
"""
PERIOD_SQL = "select session_count, first_plausible_at, last_plausible_at from funnelift.dataset_summary"


@dataclass(frozen=True)
class FunnelFacts:
    """The step that loses the largest share of its sessions, and the value that all sessions left in their carts."""

    step: str
    next_step: str
    entered: int
    dropped_off: int
    dropoff_rate: float
    revenue_lost: float
    sessions: int
    first_at: str
    last_at: str


def read_funnel(warehouse: Warehouse) -> FunnelFacts | None:
    """Read the funnel's figures.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    FunnelFacts or None
        None where the warehouse has no funnel.
    """
    if not warehouse.columns("funnel_dropoff"):
        return None
    steps, period = warehouse.query(FUNNEL_SQL), warehouse.query(PERIOD_SQL)[0]
    if not steps:
        return None
    worst = steps[0]
    return FunnelFacts(
        step=str(worst["step"]),
        next_step=str(worst["next_step"]),
        entered=int(worst["entered"]),
        dropped_off=int(worst["dropped_off"]),
        dropoff_rate=float(worst["dropoff_rate"]),
        revenue_lost=float(sum(float(step["revenue_lost"] or 0) for step in steps)),
        sessions=int(period["session_count"]),
        first_at=f"{period['first_plausible_at']:%Y-%m-%d}",
        last_at=f"{period['last_plausible_at']:%Y-%m-%d}",
    )
