"""The figures of uplift and money: Qini, deciles, calibration, profit by share, and the experiment to run next."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.arrays import Floats
from ml.policy.planner import Plan
from ml.policy.values import Projection
from ml.reports.facts import LEARNER, Difference, UpliftFacts
from ml.reports.recommendations import LONGEST_DAYS
from ml.reports.wording import RULES, TITLES, metric_text, money, percent, significant_shares
from ml.uplift.deciles import UpliftDecile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with every kind of colour blindness; line styles and markers differ as well.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
LOOKS: dict[str, tuple[str, Any]] = {
    "t_learner": (BLUE, "-"),
    "x_learner": (ORANGE, "--"),
    "dr_learner": (GREEN, "-."),
    "response": (VERMILION, (0, (4, 1, 1, 1, 1, 1))),
    "random": (GREY, ":"),
}
STRATEGY_LOOKS = {"uplift": LOOKS["t_learner"], "response": LOOKS["response"], "random": LOOKS["random"]}
CURVE_POINTS = 2001


def draw_uplift_figures(folder: Path, facts: UpliftFacts) -> list[Path]:
    """Draw every figure of uplift and money.

    Parameters
    ----------
    folder : Path
        Where the PNG files go.
    facts : UpliftFacts
        What is drawn.

    Returns
    -------
    list of Path
        The files written; equal facts give equal bytes. Without curves there is no Qini figure.
    """
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    drawings = {
        "qini.png": _qini,
        "uplift_deciles.png": _deciles,
        "uplift_calibration.png": _calibration,
        "roi_curve.png": _roi,
        "experiment_planner.png": _planner,
    }
    if not facts.curves:
        del drawings["qini.png"]
    with mpl.rc_context({"figure.dpi": 120, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True}):
        for name, draw in drawings.items():
            # No creation date and no version inside, so that equal runs write equal files.
            draw(facts).savefig(folder / name, metadata={"Software": None})
    return [folder / name for name in drawings]


def _qini(facts: UpliftFacts) -> "Figure":
    own = facts.metric(LEARNER, "qini")
    is_better = own is not None and own.ci_lower > 0
    answer = (
        "Yes: it ranks better than random order" if is_better else "Not shown: it may be no better than random order"
    )
    figure, axes = _axes(
        facts,
        f"Does the {TITLES[LEARNER]} find those whom the intervention moves?\n{answer}",
        f"in brackets: {facts.confidence} interval",
        f"Share of {facts.units} treated, highest score first",
        f"Extra conversions per 1,000 {facts.units}",
    )
    for learner in (name for name in TITLES if name in facts.curves):
        x, y = _thinned(*facts.curves[learner])
        metric = facts.metric(learner, "qini")
        label = TITLES[learner] + (f": Qini {metric_text(metric, 3)}" if metric else "")
        colour, style = LOOKS[learner]
        axes.plot(100 * x, y, color=colour, linestyle=style, linewidth=2.2 if learner == LEARNER else 1.4, label=label)
    axes.set_xlim(0, 100)
    _percent_axis(axes.xaxis)
    _legend_below(figure, columns=2)
    return figure


def _deciles(facts: UpliftFacts) -> "Figure":
    own = facts.own_deciles
    average, top = facts.metric("all", "average_effect"), own[0]
    tenth = "Best tenth" if top.decile == 1 else f"Tenth {top.decile}"
    best = metric_text(Difference(top.observed_uplift, top.ci_lower, top.ci_upper).in_points(), 2)
    figure, axes = _axes(
        facts,
        f"Do the highest ranked react most?\n{tenth}: {best}"
        + (f"; all: {metric_text(Difference.of(average).in_points(), 2)}" if average else ""),
        f"bars: {facts.confidence} interval",
        f"Tenth of {facts.units} by predicted uplift (1: highest)",
        "Uplift: conversion with minus without intervention\n(percentage points)",
    )
    x = np.array([entry.decile for entry in own])
    observed, spread = _observed(own)
    axes.bar(x, observed, 0.62, color=BLUE, alpha=0.35, edgecolor=BLUE, label="Measured")
    axes.errorbar(x, observed, spread, fmt="o", color=BLUE, markersize=4, capsize=3, linewidth=1.4)
    predicted = [100 * entry.predicted_uplift for entry in own]
    axes.plot(x - 0.17, predicted, color=VERMILION, marker="D", markersize=5, linestyle="none", label="Predicted")
    if _is_known(own):
        true = [100 * (entry.true_uplift or 0) for entry in own]
        axes.plot(x + 0.17, true, color="black", marker="x", markersize=8, linestyle="none", label="True (simulated)")
    if average:
        axes.axhline(100 * average.value, color=GREY, linestyle="--", linewidth=1.2, label="Measured, all")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(1, 11))
    axes.grid(visible=False, axis="x")
    _legend_below(figure, columns=4)
    return figure


def _calibration(facts: UpliftFacts) -> "Figure":
    own = facts.own_deciles
    slope, answer = facts.metric(LEARNER, "calibration_slope"), "On the line it is"
    if facts.predicts_one_effect:
        answer = "It is one effect for all: good for an order, not for sizes"
    elif slope:
        answer = f"Slope {metric_text(slope, 2)}; 1 is right, 0 says nothing"
    figure, axes = _axes(
        facts,
        f"Is the predicted uplift right?\n{answer}",
        f"each point a tenth by predicted uplift; bars: {facts.confidence} interval",
        "Predicted uplift (percentage points)",
        "Measured uplift (percentage points)",
    )
    predicted = np.array([100 * entry.predicted_uplift for entry in own])
    observed, spread = _observed(own)
    axes.axline((0, 0), slope=1, color=GREY, linestyle="--", linewidth=1.2, label="Predicted = measured")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.errorbar(
        predicted, observed, spread, fmt="o", color=BLUE, capsize=3, markersize=6, linewidth=1.4, label="Measured"
    )
    if _is_known(own):
        true = [100 * (entry.true_uplift or 0) for entry in own]
        axes.plot(predicted, true, color="black", marker="x", markersize=8, linestyle="none", label="True (simulated)")
    width = max(float(np.ptp(predicted)), 0.1)
    axes.set_xlim(predicted.min() - 0.15 * width, predicted.max() + 0.15 * width)
    for entry, name, side in ((own[0], "highest\ntenth", 1), (own[-1], "lowest\ntenth", -1)):
        axes.annotate(
            name, (100 * entry.predicted_uplift, 100 * entry.observed_uplift), (8 * side, 0), va="center",
            textcoords="offset points", ha="left" if side > 0 else "right", fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
        )  # fmt: skip
    _legend_below(figure, columns=3)
    return figure


def _roi(facts: UpliftFacts) -> "Figure":
    policy, chosen = facts.config.policy, facts.chosen
    horizon = f"in {policy.horizon_days:g} days" if facts.first_at is not None else f"from these {facts.units}"
    per = "conversion of the treated" if policy.cost_per == "redemption" else f"treated {facts.units.removesuffix('s')}"
    worth = money(policy.revenue_per_conversion) if policy.value_column is None else policy.value_column
    figure, axes = _axes(
        facts,
        _roi_message(facts, horizon),
        f"cost {money(policy.cost)} per {per}, revenue {worth} per conversion\nband: {facts.confidence} interval",
        f"Share of {facts.units} treated",
        f"Profit {horizon} (your currency)",
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
    _percent_axis(axes.xaxis)
    _thousands_axis(axes.yaxis)
    _legend_below(figure, columns=4)
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


def _planner(facts: UpliftFacts) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    settings = facts.config.planner
    _message(figure, facts, f"What would the next experiment show?\n{_planner_message(facts)}")
    power = f"{percent(settings.power)} power at the {percent(settings.significance)} level"
    about = f"{power}; test slice,\n{_size_text(facts)}"
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
    _thousands_axis(axes.yaxis)
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


def _axes(facts: UpliftFacts, title: str, note: str, x_label: str, y_label: str) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.4), layout="constrained")
    axes = figure.subplots()
    _message(figure, facts, title)
    axes.set_title(_wrapped(f"test slice, {_size_text(facts)}\n{note}", 95), fontsize=9)
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    return figure, axes


def _message(figure: "Figure", facts: UpliftFacts, title: str) -> None:
    text = f"{facts.marks}\n{title}" if facts.marks else title
    figure.suptitle(_wrapped(text, 70), fontsize=11, fontweight="bold")


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    # Hundreds of thousands of points take seconds to draw, and more than this cannot be seen.
    kept = np.unique(np.linspace(0, len(x) - 1, CURVE_POINTS).round().astype(int))
    return x[kept], y[kept]


def _size_text(facts: UpliftFacts) -> str:
    own = facts.metric("all", "average_effect")
    if own is None:
        return f"n = {facts.policy.projections[0].n_rows:,} {facts.units}"
    return f"n = {own.n_rows:,} {facts.units} ({own.n_treatment:,} treated, {own.n_control:,} not)"


def _observed(own: Sequence[UpliftDecile]) -> tuple[Floats, list[Floats]]:
    observed = np.array([100 * entry.observed_uplift for entry in own])
    lower = observed - [100 * entry.ci_lower for entry in own]
    upper = np.array([100 * entry.ci_upper for entry in own]) - observed
    return observed, [np.maximum(lower, 0), np.maximum(upper, 0)]


def _is_known(own: Sequence[UpliftDecile]) -> bool:
    return all(entry.true_uplift is not None for entry in own)


def _line(facts: UpliftFacts, strategy: str) -> list[Projection]:
    own = (entry for entry in facts.policy.projections if entry.strategy == strategy)
    return sorted(own, key=lambda entry: entry.share_percent)


def _points(lift: float | None) -> float:
    return float("nan") if lift is None else 100 * lift


def _days_text(plan: Plan) -> str:
    return "no lift" if plan.days_needed is None else f"{np.ceil(plan.days_needed):,.0f} days"


def _legend_below(figure: "Figure", columns: int) -> None:
    figure.legend(loc="outside lower center", ncols=columns, fontsize=8)


def _legend_under(axes: Any, columns: int) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.19), ncols=columns, fontsize=8)


def _percent_axis(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(symbol=" %"))


def _thousands_axis(axis: Any) -> None:
    from matplotlib.ticker import StrMethodFormatter

    axis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
