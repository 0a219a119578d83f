"""How the figures of uplift look."""

import textwrap
from typing import TYPE_CHECKING, Any

from ml.reports.facts import UpliftFacts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with every kind of colour blindness; line styles and markers differ as well.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
PURPLE, SKY = "#CC79A7", "#56B4E9"
LOOKS: dict[str, tuple[str, Any]] = {
    "t_learner": (BLUE, "-"),
    "s_learner": (PURPLE, "-"),
    "x_learner": (ORANGE, "--"),
    "dr_learner": (GREEN, "-."),
    "stack": (SKY, "--"),
    "mean": (SKY, "-"),
    "response": (VERMILION, (0, (4, 1, 1, 1, 1, 1))),
    "random": (GREY, ":"),
}
STRATEGY_LOOKS = {"uplift": LOOKS["t_learner"], "response": LOOKS["response"], "random": LOOKS["random"]}


def axes_of(
    facts: UpliftFacts, title: str, note: str, x_label: str, y_label: str, *, rows: str | None = None
) -> tuple["Figure", Any]:
    """Start a figure whose title is the message: return it and its axes. `rows` names others than the test split."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.4), layout="constrained")
    axes = figure.subplots()
    message(figure, facts, title)
    axes.set_title(_wrapped(f"{rows or f'test split, {size_text(facts)}'}\n{note}", 95), fontsize=9)
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    return figure, axes


def message(figure: "Figure", facts: UpliftFacts, title: str) -> None:
    """Put the message, and what is made up, over a figure."""
    text = f"{facts.marks}\n{title}" if facts.marks else title
    figure.suptitle(_wrapped(text, 70), fontsize=11, fontweight="bold")


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())


def size_text(facts: UpliftFacts) -> str:
    """Say how many rows there are."""
    own = facts.metric("all", "average_effect")
    if own is None:
        return f"n = {facts.policy.projections[0].n_rows:,} {facts.units}"
    return f"n = {own.n_rows:,} {facts.units} ({own.n_treatment:,} treated, {own.n_control:,} not)"


def legend_below(figure: "Figure", columns: int) -> None:
    """Put the legend under the figure."""
    figure.legend(loc="outside lower center", ncols=columns, fontsize=8)


def percent_axis(axis: Any) -> None:
    """Label an axis in percent."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(symbol=" %"))


def thousands_axis(axis: Any) -> None:
    """Label an axis with thousands separated."""
    from matplotlib.ticker import StrMethodFormatter

    axis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
