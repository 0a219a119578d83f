"""The page's head: what is made up, which run, which rows."""

from ml.reports.facts import UpliftFacts


def head(facts: UpliftFacts) -> list[str]:
    """Say what is made up, which run this is, and what it was evaluated on."""
    what = []
    if facts.is_simulated:
        what.append("Nobody was treated: the effects are assumed in the settings, so no gain below was measured.")
    if facts.is_synthetic:
        what.append("The visitors are made up: nothing below describes a real shop.")
    span = f", {facts.first_at} to {facts.last_at} UTC" if facts.first_at is not None else ""
    average = facts.metric("all", "average_effect")
    evaluated = (
        f" Evaluated on {average.n_rows:,} {facts.units} that no model had seen ({average.n_treatment:,} treated, "
        f"{average.n_control:,} not){span}. Money rests on {facts.policy.projections[0].n_rows:,}: those and the "
        f"{facts.units} of the training split, each scored by models that had not seen it."
        if average
        else ""
    )
    return [
        *([f"> **{facts.marks}.** {' '.join(what)}", ""] if what else []),
        "# Recommendations: whom to treat, and what it earns",
        "",
        f"Run `{facts.run_id}`, model `{facts.model_version}`, {facts.finished_at:%Y-%m-%d %H:%M} UTC. "
        f"From: {facts.source}; {facts.eligible}.{evaluated} Numbers in [brackets] are {facts.confidence} intervals.",
        "",
    ]
