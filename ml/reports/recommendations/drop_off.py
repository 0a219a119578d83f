"""Where shoppers drop off."""

from ml.reports.facts import UpliftFacts
from ml.reports.wording import money, percent


def drop_off(facts: UpliftFacts) -> list[str]:
    """Say where the funnel loses most."""
    funnel = facts.funnel
    if funnel is None:
        return ["## Where shoppers drop off", "", "Not known here: this run read an experiment and no shop events.", ""]
    lost = (
        f"All sessions together left carts worth {money(funnel.revenue_lost)}: that is what was lost, not what can be "
        "won back; part of it was bought later."
        if funnel.revenue_lost > 0
        else "What was left in carts is not known: no cart with a known price was left."
    )
    return [
        "## Where shoppers drop off",
        "",
        f"The highest drop-off is from {funnel.step} to {funnel.next_step}: of {funnel.entered:,} sessions, "
        f"{funnel.dropped_off:,} ({percent(funnel.dropoff_rate, 1)}) went no further. {lost} "
        f"({funnel.sessions:,} sessions, {funnel.first_at} to {funnel.last_at} UTC.)",
        "",
    ]
