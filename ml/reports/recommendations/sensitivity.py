"""If cost or revenue were different."""

from ml.policy.sensitivity import Sensitivity
from ml.reports.facts import UpliftFacts
from ml.reports.recommendations.phrases import paid_per, period_text
from ml.reports.wording import money


def sensitivity(facts: UpliftFacts) -> list[str]:
    """Show the profit under other costs and revenues."""
    entries = {(entry.cost, entry.revenue_per_conversion): entry for entry in facts.policy.sensitivity}
    if not entries:
        return []
    revenues, policy = sorted({revenue for _, revenue in entries}), facts.config.policy
    # Values of their own move in proportion.
    by_value = policy.value_column is not None
    headers = [
        f"revenue x {revenue / policy.revenue_per_conversion:g}" if by_value else f"revenue {money(revenue)}"
        for revenue in revenues
    ]
    return [
        "## If cost or revenue were different",
        "",
        *([f"**{facts.marks}.**", ""] if facts.marks else []),
        f"Profit per {period_text(facts)}, at the share chosen anew each time. Bold: the whole interval is above 0.",
        "",
        f"| cost per {paid_per(facts)} | {' | '.join(headers)} |",
        f"| ---: |{' ---: |' * len(revenues)}",
        *(
            f"| {money(cost)} | {' | '.join(_cell(entries.get((cost, revenue))) for revenue in revenues)} |"
            for cost in sorted({cost for cost, _ in entries})
        ),
        "",
    ]


def _cell(entry: Sensitivity | None) -> str:
    if entry is None:
        return "not valued"
    if entry.share_percent == 0:
        return "treat nobody"
    text = f"{money(entry.profit, entry.profit_ci_lower, entry.profit_ci_upper)}"
    return f"{f'**{text}**' if entry.profit_ci_lower > 0 else text} at {entry.share_percent} %"
