"""Do the highest ranked react most, and is the predicted uplift right?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import Floats
from ml.reports.facts import Difference, UpliftFacts
from ml.reports.uplift_figures.style import BLUE, GREY, VERMILION, axes_of, legend_below
from ml.reports.wording import metric_text
from ml.uplift.deciles import UpliftDecile
from ml.uplift.names import CHOSEN

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def deciles(facts: UpliftFacts) -> "Figure":
    """Draw predicted and measured uplift by decile."""
    own = facts.own_deciles
    average, top = facts.metric("all", "average_effect"), own[0]
    decile = "Best decile" if top.decile == 1 else f"Decile {top.decile}"
    best = metric_text(Difference(top.observed_uplift, top.ci_lower, top.ci_upper).in_points(), 2)
    figure, axes = axes_of(
        facts,
        f"Do the highest ranked react most?\n{decile}: {best}"
        + (f"; all: {metric_text(Difference.of(average).in_points(), 2)}" if average else ""),
        f"bars: {facts.confidence} interval",
        f"Decile of {facts.units} by predicted uplift (1: highest)",
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
    legend_below(figure, columns=4)
    return figure


def calibration(facts: UpliftFacts) -> "Figure":
    """Draw measured against predicted uplift."""
    own = facts.own_deciles
    slope, answer = facts.metric(CHOSEN, "calibration_slope"), "On the line it is"
    if facts.predicts_one_effect:
        answer = "It is one effect for all: good for an order, not for sizes"
    elif slope:
        answer = f"Slope {metric_text(slope, 2)}; 1 is right, 0 says nothing"
    figure, axes = axes_of(
        facts,
        f"Is the predicted uplift right?\n{answer}",
        f"each point a decile by predicted uplift; bars: {facts.confidence} interval",
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
    for entry, name, side in ((own[0], "highest\ndecile", 1), (own[-1], "lowest\ndecile", -1)):
        axes.annotate(
            name, (100 * entry.predicted_uplift, 100 * entry.observed_uplift), (8 * side, 0), va="center",
            textcoords="offset points", ha="left" if side > 0 else "right", fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
        )  # fmt: skip
    legend_below(figure, columns=3)
    return figure


def _observed(own: Sequence[UpliftDecile]) -> tuple[Floats, list[Floats]]:
    observed = np.array([100 * entry.observed_uplift for entry in own])
    lower = observed - [100 * entry.ci_lower for entry in own]
    upper = np.array([100 * entry.ci_upper for entry in own]) - observed
    return observed, [np.maximum(lower, 0), np.maximum(upper, 0)]


def _is_known(own: Sequence[UpliftDecile]) -> bool:
    return all(entry.true_uplift is not None for entry in own)
