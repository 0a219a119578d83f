"""Whom to target."""

from ml.policy.projection import Projection
from ml.reports.facts import UpliftFacts
from ml.reports.recommendations.doubts import doubts
from ml.reports.recommendations.phrases import group_text
from ml.reports.wording import QUADRANTS, money, percent, points_text
from ml.uplift.names import CHOSEN


def whom(facts: UpliftFacts) -> list[str]:
    """Say whom the plan treats, and what kinds of shoppers there are."""
    chosen, total = facts.chosen, sum(facts.quadrant_counts.values())
    if chosen is None:
        plan = "Nobody for now."
    else:
        name = "The plan" if facts.earns and not doubts(facts) else "The plan that was tested (no advice to spend)"
        budget = facts.config.policy.budget
        within = f", within a budget of {money(budget)}" if budget is not None else ""
        plan = (
            f"{name}: {group_text(facts, chosen.share_percent)}. The share was chosen on one part of the data{within}, "
            f"and evaluated on another.{_over_budget(facts, chosen)}"
        )
    share = facts.config.uplift.top_shares[0]
    average, top = facts.metric("all", "average_effect"), facts.metric(CHOSEN, f"uplift_at_{100 * share:g}")
    if average and top:
        plan += (
            f" The intervention adds {points_text(average)} of conversion on average, and {points_text(top)} among the "
            f"{percent(share)} with the highest uplift."
        )
    table = [
        f"| kind of shopper, as estimated | meaning | test {facts.units} | share |",
        "| --- | --- | ---: | ---: |",
        *(
            f"| {name} | {QUADRANTS[name]} | {count:,} | {percent(count / total, 1)} |"
            for name, count in facts.quadrant_counts.items()
        ),
        "",
    ]
    return ["## Whom to target", "", plan, "", *(table if total else [])]


def _over_budget(facts: UpliftFacts, chosen: Projection) -> str:
    budget = facts.config.policy.budget
    if budget is None or chosen.cost <= budget:
        return ""
    paid = percent(budget / chosen.cost)
    return (
        f" There it costs {money(chosen.cost)}: MORE THAN THE BUDGET, which pays for {paid} of it. "
        "The figures below are of all of it."
    )
