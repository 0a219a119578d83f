"""What does treating bring?"""

from typing import TYPE_CHECKING, Any

from ml.policy.projection import Projection
from ml.reports.facts import UpliftFacts
from ml.reports.uplift_figures.style import (
    BLUE,
    GREY,
    STRATEGY_LOOKS,
    axes_of,
    legend_below,
    percent_axis,
    thousands_axis,
)
from ml.reports.wording import RULES, money

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def roi(facts: UpliftFacts) -> "Figure":
    """Draw profit by share."""
    policy, chosen = facts.config.policy, facts.chosen
    horizon = f"in {policy.horizon_days:g} days" if facts.first_at is not None else f"from these {facts.units}"
    per = "conversion of the treated" if policy.cost_per == "redemption" else f"treated {facts.units.removesuffix('s')}"
    worth = money(policy.revenue_per_conversion) if policy.value_column is None else policy.value_column
    figure, axes = axes_of(
        facts,
        _roi_message(facts, horizon),
        f"cost {money(policy.cost)} per {per}, revenue {worth} per conversion\nband: {facts.confidence} interval",
        f"Share of {facts.units} treated",
        f"Profit {horizon} (your currency)",
        rows=f"training and test split, n = {facts.policy.projections[0].n_rows:,} {facts.units}",
    )
    lines = {name: _line(facts, name) for name in STRATEGY_LOOKS}
    own = lines["uplift"]
    axes.fill_between(
        [entry.share_percent for entry in own],
        [entry.profit_ci_lower for entry in own],
        [entry.profit_ci_upper for entry in own],
        color=BLUE, alpha=0.18, linewidth=0,
    )  # fmt: skip
    for name, (colour, style) in STRATEGY_LOOKS.items():
        x, y = [0, *(e.share_percent for e in lines[name])], [0.0, *(e.profit for e in lines[name])]
        label = RULES[name][0].upper() + RULES[name][1:]
        axes.plot(x, y, color=colour, linestyle=style, linewidth=2.2 if name == "uplift" else 1.4, label=label)
    axes.axhline(0, color="black", linewidth=1, label="Treat nobody")
    _mark_shares(axes, facts, chosen)
    axes.set_xlim(0, 100)
    percent_axis(axes.xaxis)
    thousands_axis(axes.yaxis)
    legend_below(figure, columns=4)
    return figure


def _roi_message(facts: UpliftFacts, horizon: str) -> str:
    chosen = facts.chosen
    if chosen is None:
        return "What does treating bring?\nNo share is expected to earn anything: treat nobody"
    share = f"top {chosen.share_percent} %" if chosen.share_percent < 100 else "all"
    profit = money(chosen.profit, chosen.profit_ci_lower, chosen.profit_ci_upper)
    if facts.earns:
        would = "would earn" if facts.marks else "earns"
        return f"What does treating bring?\nTreating the {share} {would} {profit} {horizon}"
    shown = "a loss" if chosen.profit_ci_upper < 0 else "no gain shown"
    return f"What does treating bring?\nBest plan, the {share}: {shown}, {profit} {horizon}"


def _mark_shares(axes: Any, facts: UpliftFacts, chosen: Projection | None) -> None:
    # Names of shares stand in the empty strips made above and below the curves.
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.14 * (high - low), high + 0.14 * (high - low))
    marks = [(facts.policy.chosen["uplift"], "chosen: " + _share_text(chosen), 0.97, "top", BLUE)]
    if 0 < facts.policy.break_even_share < 100:
        marks.append(
            (facts.policy.break_even_share, f"breaks even: {facts.policy.break_even_share} %", 0.03, "bottom", GREY)
        )
    for share, text, height, side, colour in marks:
        axes.axvline(share, color=colour, linestyle=(0, (2, 2)), linewidth=1.2)
        axes.annotate(
            text, (share, height), (5 if share < 60 else -5, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="left" if share < 60 else "right", va=side, fontsize=9, color=colour,
        )  # fmt: skip
    if chosen is not None:
        axes.plot([chosen.share_percent], [chosen.profit], color=BLUE, marker="o", markersize=7)


def _share_text(chosen: Projection | None) -> str:
    return "treat nobody" if chosen is None else f"{chosen.share_percent} %"


def _line(facts: UpliftFacts, strategy: str) -> list[Projection]:
    own = (entry for entry in facts.policy.projections if entry.strategy == strategy)
    return sorted(own, key=lambda entry: entry.share_percent)
