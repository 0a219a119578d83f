"""What experiment to run next."""

import math

import numpy as np

from ml.reports.facts import UpliftFacts
from ml.reports.recommendations.phrases import group_text, points, shown_by_traffic, size_text, takes_too_long
from ml.reports.wording import UNDEFINED, percent, significant_shares


def experiment(facts: UpliftFacts) -> list[str]:
    """Advise the experiment to run next."""
    return ["## What experiment to run next", "", *_advice(facts), *_tests(facts), *_plans(facts)]


def _advice(facts: UpliftFacts) -> list[str]:
    settings, plan = facts.config.planner, facts.planned
    if plan is None:
        return []
    group, by_visitor = group_text(facts, plan.share_percent), ", visitor by visitor," if facts.first_at else ""
    if plan.sessions_per_arm is None:
        return [f"No lift is expected in {group}, so no size follows from one{shown_by_traffic(facts, plan)}.", ""]
    text = (
        f"Take {group}; draw by lot{by_visitor} which half gets the intervention: {size_text(facts, plan)}. "
        f"That shows the expected lift of {points(plan.expected_lift)} percentage points with "
        f"{percent(settings.power)} power at the {percent(settings.significance)} level."
    )
    if takes_too_long(facts, plan):
        text += f" So long an experiment would measure another shop{shown_by_traffic(facts, plan)}."
    return [text, ""]


def _tests(facts: UpliftFacts) -> list[str]:
    if not facts.tests:
        return []
    confidence = facts.config.evaluation.confidence
    lifts = [100 * test.measured_lift for test in facts.tests]
    lower, upper = np.quantile(lifts, [(1 - confidence) / 2, (1 + confidence) / 2])
    gain, loss = significant_shares(facts.tests)
    return [
        f"Played through {len(facts.tests):,} times on the estimated effects with {facts.tests[0].n_treatment:,} "
        f"{facts.units} in each arm, it showed a significant gain in {percent(gain, 1)} and a significant loss in "
        f"{percent(loss, 1)} of the runs; {facts.confidence} of them measured a lift of {lower:.2f} to {upper:.2f} "
        "percentage points.",
        "",
    ]


def _plans(facts: UpliftFacts) -> list[str]:
    if not facts.plans:
        return []
    first = facts.plans[0]
    header = [
        "share treated or not, by lot",
        "conversion untreated",
        "expected lift (points)",
        f"{facts.units} in each arm",
    ]
    if facts.first_at is not None:
        header += ["days", f"smallest lift {first.days_short} days show", f"smallest lift {first.days_long} days show"]
    rows = []
    for plan in facts.plans:
        size = UNDEFINED if plan.sessions_per_arm is None else f"{plan.sessions_per_arm:,}"
        cells = [f"{plan.share_percent} %", percent(plan.control_rate, 2), points(plan.expected_lift), size]
        if facts.first_at is not None:
            days = UNDEFINED if plan.days_needed is None else f"{math.ceil(plan.days_needed):,}"
            cells += [days, points(plan.smallest_lift_short), points(plan.smallest_lift_long)]
        rows.append(f"| {' | '.join(cells)} |")
    return [f"| {' | '.join(header)} |", f"|{' ---: |' * len(header)}", *rows, ""]
