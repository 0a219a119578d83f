"""The pictures of `benchmarks.live_loops` and `live_round_two`: effects in fifty shops, and what policies earn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: told apart with every kind of colour blindness; markers differ as well.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"


def draw(path: Path, covered: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> None:
    """Draw the intervals of average effects.

    Parameters
    ----------
    path : Path
        The PNG file.
    covered : sequence of dict
        Shops whose average effect was estimated.
    found : dict
        Their summary.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True})
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.5, 5.2), dpi=100)
    _draw_intervals(axes, covered, found)
    figure.suptitle("SIMULATED SHOPPERS who react to what the live service shows them", fontsize=11)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def _draw_intervals(axes: "Axes", covered: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> None:
    truth = found["true effect"]
    effects = np.array(sorted(shop["effect"] for shop in covered))
    holds = (effects[:, 1] <= truth) & (effects[:, 2] >= truth)
    places = np.arange(1, len(effects) + 1)
    for which, colour, marker, name in ((holds, BLUE, "o", "holds the truth"), (~holds, ORANGE, "^", "misses it")):
        own = effects[which]
        axes.errorbar(
            own[:, 0], places[which], xerr=[own[:, 0] - own[:, 1], own[:, 2] - own[:, 0]], fmt=marker, color=colour,
            markersize=4, linewidth=1, label=f"95 % interval {name}: {int(which.sum())}",
        )  # fmt: skip
    axes.axvline(truth, color="black", linestyle="--", linewidth=1.2, label=f"true effect: {truth:.2%}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.0%}")
    axes.set_xlabel("average effect on buying, shown minus held")
    axes.set_ylabel("shops, by estimate")
    visitors = np.mean([shop["visitors"] for shop in covered])
    axes.set_title(f"{len(covered)} shops, about {visitors:,.0f} visitors each", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")


def draw_sizes(path: Path, told: Sequence[Mapping[str, Any]]) -> None:
    """Draw what the learnt policy earns more than others, by the size of round one.

    Parameters
    ----------
    path : Path
        The PNG file.
    told : sequence of dict
        Means with their intervals, one for each size.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.6), dpi=100)
    sizes = np.array([row["first"] for row in told])
    others = (
        ("less everybody", "everybody gets the offer", BLUE, "o", 0.94),
        ("less buyers, their share", "likely buyers first, share by training", ORANGE, "^", 0.98),
        ("less buyers, same share", "likely buyers first, as many as the policy", GREEN, "s", 1.02),
        ("less buyers, best share", "likely buyers first, best share in hindsight", PURPLE, "D", 1.06),
    )  # fmt: skip
    for name, title, colour, marker, shift in others:
        mean, lower, upper = np.array([row[name] for row in told]).T
        axes.errorbar(
            sizes * shift, mean, yerr=[mean - lower, upper - mean], fmt=f"{marker}-", color=colour, capsize=4,
            linewidth=1, label=title,
        )  # fmt: skip
    axes.axhline(0, color="black", linewidth=1)
    axes.grid(alpha=0.3)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("visitors of round one, of whom chance shows the offer to half")
    axes.set_ylabel("profit per visitor of round two,\nlearnt policy less another (currency)")
    axes.set_title(f"SIMULATED SHOPPERS; means of {told[0]['shops']} shops each, with 95 % intervals", fontsize=10)
    axes.legend(fontsize=8, title="The learnt policy, less ...", title_fontsize=8, loc="upper left", ncols=2)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.35)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
