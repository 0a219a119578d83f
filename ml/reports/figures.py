"""The figures of a run: precision-recall, ROC, calibration and SHAP summary."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.arrays import Floats
from ml.reports.conversion_facts import ConversionFacts, metric_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with every kind of colour blindness; line styles differ as well.
COLOURS = ("#0072B2", "#E69F00", "#009E73")
STYLES = ("-", "--", "-.")
CURVE_CELLS = 1000


def draw_figures(folder: Path, facts: ConversionFacts) -> list[Path]:
    """Draw every figure of a run, champion first.

    Parameters
    ----------
    folder : Path
        Where the PNG files go.
    facts : ConversionFacts
        What the run found; metrics and curves of the evaluated test rows are shown.

    Returns
    -------
    list of Path
        The files written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"figure.dpi": 120, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True})
    label, part = facts.evaluation.label, "sample of the test split" if facts.evaluation.is_sample else "test split"
    about = (
        f"{_data(facts)}{part}, n = {len(label):,} rows, {int(label.sum()):,} converted\n"
        f"in brackets: {facts.config.evaluation.confidence:.0%} interval"
    )
    figures = {
        "roc.png": _roc(facts, about),
        "precision_recall.png": _precision_recall(facts, about),
        "calibration.png": _calibration(facts, about),
        "shap_summary.png": _shap_summary(facts),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        # No creation date and no version inside, so that equal runs write equal files.
        figure.savefig(folder / name, bbox_inches="tight", metadata={"Software": None})
    return [folder / name for name in figures]


def _data(facts: ConversionFacts) -> str:
    return "SYNTHETIC DATA, " if facts.stamp.is_synthetic else ""


def _styled(facts: ConversionFacts) -> Iterator[tuple[str, str, str]]:
    """Go through the models, champion first, with a colour and a line style each."""
    champion = facts.champion.name
    order = [champion, *(name for name in facts.candidates if name != champion)]
    yield from zip(order, COLOURS, STYLES, strict=True)


def _roc(facts: ConversionFacts, about: str) -> "Figure":
    from sklearn.metrics import roc_curve

    figure, axes = _axes("Who converts? ROC curve", about, "False positive rate (share of non-converting rows)",
                         "True positive rate (share of converting rows)")  # fmt: skip
    for name, colour, style in _styled(facts):
        x, y, _ = roc_curve(facts.evaluation.label, facts.evaluation.probabilities[name])
        _draw(axes, x, y, color=colour, linestyle=style, label=_legend(facts, name, "AUC", "auc_roc"))
    axes.plot([0, 1], [0, 1], color="#777777", linewidth=0.8, linestyle=":", label="Chance: AUC 0.5")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def _precision_recall(facts: ConversionFacts, about: str) -> "Figure":
    from sklearn.metrics import precision_recall_curve

    figure, axes = _axes("Who converts? Precision-recall curve", about, "Recall (share of converting rows found)",
                         "Precision (share of rows found that convert)")  # fmt: skip
    for name, colour, style in _styled(facts):
        precision, recall, _ = precision_recall_curve(facts.evaluation.label, facts.evaluation.probabilities[name])
        legend = _legend(facts, name, "AP", "average_precision")
        _draw(axes, recall, precision, color=colour, linestyle=style, label=legend)
    rate = float(facts.evaluation.label.mean())
    axes.axhline(rate, color="#777777", linewidth=0.8, linestyle=":", label=f"Chance: prevalence {rate:.4f}")
    axes.legend(loc="upper right", fontsize=8)
    return figure


def _calibration(facts: ConversionFacts, about: str) -> "Figure":
    from matplotlib.ticker import PercentFormatter

    figure, axes = _axes("Are the probabilities right? Calibration in bins of equal count", about,
                         "Predicted probability of a conversion (mean of the bin; both scales logarithmic)",
                         "Rows that converted (bars: 95 % Wilson interval)")  # fmt: skip
    drawn = [entry for entry in facts.evaluation.curves if entry.slice == "overall"]
    lowest = min([entry.mean_predicted for entry in drawn] + [e.ci_lower for e in drawn if e.n_positives])
    floor = max(lowest / 2, 1e-5)
    for name, colour, style in _styled(facts):
        own = [entry for entry in drawn if entry.model == name]
        x = np.array([entry.mean_predicted for entry in own])
        y = np.array([entry.observed_rate for entry in own])
        spread = [y - [entry.ci_lower for entry in own], np.array([entry.ci_upper for entry in own]) - y]
        axes.errorbar(
            x, np.maximum(y, floor), np.maximum(spread, 0), color=colour, linestyle=style, marker="o", markersize=3.5,
            linewidth=1.2, capsize=2,
            label=_legend(facts, name, "ECE", "expected_calibration_error", digits=5),
        )  # fmt: skip
    axes.axline((floor, floor), slope=1, color="#777777", linewidth=0.8, linestyle=":", label="Perfect calibration")
    axes.set(xscale="log", yscale="log", xlim=(floor, None), ylim=(floor, None))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(xmax=1))
    axes.legend(loc="upper left", fontsize=8)
    return figure


def _shap_summary(facts: ConversionFacts) -> "Figure":
    import matplotlib.pyplot as plt
    import shap

    # Categories have no order to colour by; the plot shows them in grey.
    values = facts.explanation.sample_inputs.copy()
    for name in facts.champion.mart.categorical:
        values[name] = np.nan
    plt.figure()
    with warnings.catch_warnings():
        # shap looks for the colour range of the categories, which have none.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        shap.summary_plot(
            facts.explanation.sample_values, values.astype(np.float64), max_display=15, show=False,
            feature_names=[feature.label for feature in facts.checked.mart.features],
            plot_size=(8.5, 6.5), cmap="cividis", rng=np.random.default_rng(facts.config.seed),
        )  # fmt: skip
    figure = plt.gcf()
    axes = figure.axes[0]
    axes.set_title(
        f"What moves the probability of a conversion ({facts.champion.title})\n"
        f"{_data(facts)}random sample of the test split, n = {len(values):,} rows", fontsize=10,
    )  # fmt: skip
    axes.set_xlabel("SHAP value (log-odds; right: towards buying, left: towards leaving)", fontsize=9)
    axes.tick_params(axis="y", labelsize=9)
    plt.close(figure)
    return figure


def _axes(title: str, about: str, x_label: str, y_label: str) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.2))
    axes = figure.subplots()
    axes.set_title(f"{title}\n{about}", fontsize=10)
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    return figure, axes


def _draw(axes: Any, x: Floats, y: Floats, **style: str) -> None:
    # One point a thousandth of either axis: more cannot be seen, and hundreds of thousands take seconds to draw.
    cell = np.round(x * CURVE_CELLS) * (CURVE_CELLS + 1) + np.round(y * CURVE_CELLS)
    kept = np.flatnonzero(np.diff(cell, prepend=-1, append=-1)[:-1] != 0)
    axes.plot(x[kept], y[kept], linewidth=1.4, **style)


def _legend(facts: ConversionFacts, name: str, short: str, metric: str, digits: int = 3) -> str:
    title = facts.candidates[name].model.title + (" (champion)" if name == facts.champion.name else "")
    return f"{title}: {short} {metric_text(facts.evaluation.overall(name)[metric], digits)}"
