"""Reasons not to spend, however large the gain."""

from ml.reports.facts import UpliftFacts


def doubts(facts: UpliftFacts) -> list[str]:
    """Return why a gain, however large, is no reason to spend."""
    # Why a gain, however large, is no reason to spend.
    placebo = facts.placebo_qini
    reasons = [
        ("the effects are simulated", facts.is_simulated),
        ("the visitors are made up", facts.is_synthetic),
        ("the arms do not look as if they were drawn by lot", not arms_are_sound(facts)),
        ("the placebo check finds an effect where there is none", placebo is not None and placebo.ci_lower > 0),
    ]
    return [reason for reason, holds in reasons if holds]


def arms_are_sound(facts: UpliftFacts) -> bool:
    """Whether sizes and features of the arms look as if drawn by lot."""
    found = [facts.mismatch_p, facts.balance_worst[2] if facts.balance_worst else None]
    return all(p is None or p >= facts.config.experiment.highest_mismatch_p for p in found)
