"""Does the ranking find those whom the intervention moves?"""

from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import Floats
from ml.reports.facts import UpliftFacts
from ml.reports.uplift_figures.style import LOOKS, axes_of, legend_below, percent_axis
from ml.reports.wording import metric_text
from ml.uplift.names import CHOSEN, TITLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVE_POINTS = 2001


def qini(facts: UpliftFacts) -> "Figure":
    """Draw the Qini curves."""
    own = facts.metric(CHOSEN, "qini")
    is_better = own is not None and own.ci_lower > 0
    answer = (
        "Yes: it ranks better than random order" if is_better else "Not shown: it may be no better than random order"
    )
    figure, axes = axes_of(
        facts,
        f"Does the ranking ({facts.title}) find those whom the intervention moves?\n{answer}",
        f"in brackets: {facts.confidence} interval",
        f"Share of {facts.units} treated, highest score first",
        f"Extra conversions per 1,000 {facts.units}",
    )
    for learner in (name for name in TITLES if name in facts.curves):
        x, y = _thinned(*facts.curves[learner])
        metric = facts.metric(learner, "qini")
        label = TITLES[learner] + (f": Qini {metric_text(metric, 3)}" if metric else "")
        colour, style = LOOKS[learner]
        axes.plot(
            100 * x, y, color=colour, linestyle=style, linewidth=2.2 if learner == facts.learner else 1.4, label=label
        )
    axes.set_xlim(0, 100)
    percent_axis(axes.xaxis)
    legend_below(figure, columns=2)
    return figure


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    # Hundreds of thousands of points take seconds to draw, and more than this cannot be seen.
    kept = np.unique(np.linspace(0, len(x) - 1, CURVE_POINTS).round().astype(int))
    return x[kept], y[kept]
