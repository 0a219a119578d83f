"""What would make it wrong."""

from ml.reports.facts import UpliftFacts
from ml.reports.recommendations.phrases import terms_text


def risks(facts: UpliftFacts) -> list[str]:
    """Say what would make the page wrong."""
    chosen = facts.chosen
    risks = [
        f"Money: the figures hold {terms_text(facts)}. The next table says what changes.",
        "Time: season, stock, prices and the offer must stay as they were, and shoppers get used to offers.",
        "What is not measured: purchases pulled forward from a later visit; shoppers who learn to wait for offers.",
    ]
    if facts.first_at is not None:
        risks.append("Visitors are browser ids: one person on two devices can be in both arms, which hides effects.")
    if facts.is_synthetic:
        risks.insert(0, "The visitors: a generator made them.")
    if facts.is_simulated:
        risks.insert(0, "The effects: they are assumptions in the settings. Real shoppers may react otherwise.")
    if chosen is not None:
        risks.append(
            f"Chance: the plan rests on {chosen.n_targeted:,} of {chosen.n_rows:,} {facts.units}, those that did "
            "not choose the share; the intervals say how much that can do."
        )
    return ["## What would make it wrong", "", *(f"- {risk}" for risk in risks), ""]
