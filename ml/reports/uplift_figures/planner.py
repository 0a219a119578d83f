"""What would the next experiment show?"""

from typing import TYPE_CHECKING, Any

import numpy as np

from ml.policy.planner import Plan
from ml.reports.facts import UpliftFacts
from ml.reports.recommendations.phrases import LONGEST_DAYS
from ml.reports.uplift_figures.style import BLUE, ORANGE, VERMILION, message, size_text, thousands_axis
from ml.reports.wording import percent, significant_shares

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def planner(facts: UpliftFacts) -> "Figure":
    """Draw the experiment to run next: sizes or lifts, and what runs of it show."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    settings = facts.config.planner
    message(figure, facts, f"What would the next experiment show?\n{_planner_message(facts)}")
    power = f"{percent(settings.power)} power at the {percent(settings.significance)} level"
    about = f"{power}; test split,\n{size_text(facts)}"
    if not facts.plans:
        _say(left, f"No share holds a test row,\nso no experiment was planned\n\n{about}")
    elif facts.first_at is None and any(plan.sessions_per_arm for plan in facts.plans):
        _sizes(left, facts, about)
    else:
        _lifts(left, facts, about)
    _runs(right, facts)
    return figure


def _planner_message(facts: UpliftFacts) -> str:
    plan = facts.planned
    if plan is None or plan.sessions_per_arm is None:
        return "No lift is expected: try another intervention"
    size = f"top {plan.share_percent} %, {plan.sessions_per_arm:,} {facts.units} in each arm"
    if facts.first_at is None or plan.days_needed is None:
        return f"Advised: {size}"
    lead = "Too long to be of use" if plan.days_needed > LONGEST_DAYS else "Advised"
    return f"{lead}: {size}, {_days_text(plan)}"


def _lifts(axes: Any, facts: UpliftFacts, about: str) -> None:
    plans, x = facts.plans, np.arange(len(facts.plans))
    first, ticks = plans[0], [f"{plan.share_percent} %" for plan in plans]
    title, needed = "What lift is expected?", ""
    if facts.first_at is not None:
        title, needed = "Where blue is above a line, so many days are enough", "; days needed"
        ticks = [f"{tick}\n{_days_text(plan)}" for tick, plan in zip(ticks, plans, strict=True)]
        short = [_points(plan.smallest_lift_short) for plan in plans]
        long = [_points(plan.smallest_lift_long) for plan in plans]
        label = f"Smallest lift that {first.days_short} days show"
        axes.plot(x, short, color=ORANGE, marker="v", linestyle="--", label=label)
        label = f"Smallest lift that {first.days_long} days show"
        axes.plot(x, long, color=VERMILION, marker="s", linestyle="-.", label=label)
    axes.plot(x, [_points(plan.expected_lift) for plan in plans], color=BLUE, marker="o", label="Expected lift")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_title(f"{title}\n{about}", fontsize=9)
    axes.set_xticks(x, ticks, fontsize=8)
    axes.set_xlabel(f"Share of {facts.units} in the experiment, highest uplift first{needed}", fontsize=9)
    axes.set_ylabel("Lift in conversion (percentage points)", fontsize=9)
    _legend_under(axes, 2)


def _sizes(axes: Any, facts: UpliftFacts, about: str) -> None:
    x = np.arange(len(facts.plans))
    sizes = [plan.sessions_per_arm or np.nan for plan in facts.plans]
    bars = axes.bar(x, sizes, 0.6, color=BLUE, alpha=0.35, edgecolor=BLUE)
    axes.bar_label(bars, [f"{n:,.0f}" if np.isfinite(n) else "" for n in sizes], fontsize=8, padding=2)
    thousands_axis(axes.yaxis)
    axes.margins(y=0.15)
    axes.set_title(f"How many show the expected lift?\n{about}", fontsize=9)
    axes.set_xticks(
        x, [f"{p.share_percent} %" if p.sessions_per_arm else f"{p.share_percent} %\nno lift" for p in facts.plans]
    )
    axes.set_xlabel(f"Share of {facts.units} in the experiment, highest uplift first", fontsize=9)
    axes.set_ylabel(f"{facts.units.capitalize()} in each arm", fontsize=9)


def _runs(axes: Any, facts: UpliftFacts) -> None:
    if not facts.tests:
        _say(axes, "No lift is expected,\nso no experiment was played through")
        return
    lifts = 100 * np.array([test.measured_lift for test in facts.tests])
    significant = np.array([test.is_significant for test in facts.tests])
    kinds = [
        ("Significant gain", BLUE, "", significant & (lifts > 0)),
        ("Significant loss", "#F3C6A5", "////", significant & (lifts <= 0)),
        ("Not significant", "white", "", ~significant),
    ]
    kinds = [kind for kind in kinds if kind[-1].any()]
    # Bins of whole steps: one conversion more or less in an arm, so that no bin holds more steps than another.
    step = 100 / facts.tests[0].n_treatment
    width = step * max(1, round(np.ptp(lifts) / 30 / step))
    edges = np.arange(lifts.min() - step / 2, lifts.max() + width, width)
    labels, colours, hatches, runs = zip(*kinds, strict=True)
    axes.hist(
        [lifts[run] for run in runs], edges, stacked=True, label=labels, color=colours, hatch=hatches, edgecolor=BLUE,
        linewidth=0.7,
    )  # fmt: skip
    axes.axvline(0, color="black", linewidth=1)
    expected = facts.planned
    if expected is not None:
        axes.axvline(
            100 * expected.expected_lift, color=VERMILION, linestyle="--", linewidth=1.4, label="Expected lift"
        )
    n, (gain, loss) = facts.tests[0].n_treatment, significant_shares(facts.tests)
    axes.set_title(
        f"{percent(gain, 1)} of the runs show a significant gain, {percent(loss, 1)} a loss\n"
        f"{len(lifts):,} runs of the top {facts.tested_share} %, {n:,} in each arm",
        fontsize=9,
    )
    axes.set_xlabel("Measured lift in conversion (percentage points)", fontsize=9)
    axes.set_ylabel("Runs", fontsize=9)
    _legend_under(axes, 2)


def _say(axes: Any, text: str) -> None:
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center")


def _points(lift: float | None) -> float:
    return float("nan") if lift is None else 100 * lift


def _days_text(plan: Plan) -> str:
    return "no lift" if plan.days_needed is None else f"{np.ceil(plan.days_needed):,.0f} days"


def _legend_under(axes: Any, columns: int) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.19), ncols=columns, fontsize=8)
