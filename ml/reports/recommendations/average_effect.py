"""The average effect, as the experiment was designed."""

from ml.reports.average import average_section
from ml.reports.facts import UpliftFacts


def average_effect(facts: UpliftFacts) -> list[str]:
    """Say what the treatment does on average; nothing where the experiment is not from a file."""
    return [] if facts.average is None else average_section(facts.average, facts.confidence, facts.notes)
