"""The figures of a run: precision-recall, ROC, calibration and SHAP summary."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.arrays import Floats, Labels
from ml.conversion.curve import CalibrationBin
from ml.conversion.evaluate import Metric
from ml.conversion.explain import Explanations
from ml.data.features import Mart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with every kind of colour blindness; line styles differ as well.
COLOURS = ("#0072B2", "#E69F00", "#009E73")
STYLES = ("-", "--", "-.")
CURVE_CELLS = 1000
TITLES = {"catboost": "CatBoost", "xgboost": "XGBoost", "logistic": "Logistic regression"}


def draw_figures(
    folder: Path,
    label: Labels,
    probabilities: dict[str, Floats],
    champion: str,
    metrics: Sequence[Metric],
    bins: Sequence[CalibrationBin],
    explanations: Explanations,
    mart: Mart,
    is_synthetic: bool,
    confidence: float,
    seed: int,
) -> list[Path]:
    """Draw every figure of a run, champion first.

    Parameters
    ----------
    folder : Path
        Where the PNG files go.
    label : array of int
        Labels of the test rows.
    probabilities : dict
        Model name to its calibrated probabilities of the test rows.
    champion : str
        Name of the champion.
    metrics : sequence of Metric
        Metrics with intervals; those of the whole test slice are printed.
    bins : sequence of CalibrationBin
        Calibration curves; those of the whole test slice are drawn.
    explanations : Explanations
        SHAP values of a sample of test rows.
    mart : Mart
        Features.
    is_synthetic : bool
        Whether the title must say that the data are made up.
    confidence : float
        Level of the metrics' intervals.
    seed : int
        Seed of the jitter in the SHAP figure.

    Returns
    -------
    list of Path
        The files written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"figure.dpi": 120, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True})
    data = "SYNTHETIC DATA, " if is_synthetic else ""
    about = (
        f"{data}test slice, n = {len(label):,} rows, {int(label.sum()):,} converted\n"
        f"in brackets: {confidence:.0%} interval"
    )
    order = [champion, *(name for name in probabilities if name != champion)]
    overall = {(entry.model, entry.metric): entry for entry in metrics if entry.slice == "overall"}

    figures = {
        "roc.png": _roc(label, probabilities, order, overall, about),
        "precision_recall.png": _precision_recall(label, probabilities, order, overall, about),
        "calibration.png": _calibration(bins, order, overall, about),
        "shap_summary.png": _shap_summary(explanations, mart, champion, data, seed),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        # No creation date and no version inside, so that equal runs write equal files.
        figure.savefig(folder / name, bbox_inches="tight", metadata={"Software": None})
    return [folder / name for name in figures]


def _roc(
    label: Labels, probabilities: dict[str, Floats], order: list[str], overall: dict[Any, Metric], about: str
) -> "Figure":
    from sklearn.metrics import roc_curve

    figure, axes = _axes("Who converts? ROC curve", about, "False positive rate (share of non-converting rows)",
                         "True positive rate (share of converting rows)")  # fmt: skip
    for name, colour, style in zip(order, COLOURS, STYLES, strict=True):
        x, y, _ = roc_curve(label, probabilities[name])
        _draw(axes, x, y, colour, style, _legend(name, order[0], "AUC", overall[name, "auc_roc"]))
    axes.plot([0, 1], [0, 1], color="#777777", linewidth=0.8, linestyle=":", label="Chance: AUC 0.5")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def _precision_recall(
    label: Labels, probabilities: dict[str, Floats], order: list[str], overall: dict[Any, Metric], about: str
) -> "Figure":
    from sklearn.metrics import precision_recall_curve

    figure, axes = _axes("Who converts? Precision-recall curve", about, "Recall (share of converting rows found)",
                         "Precision (share of rows found that convert)")  # fmt: skip
    for name, colour, style in zip(order, COLOURS, STYLES, strict=True):
        precision, recall, _ = precision_recall_curve(label, probabilities[name])
        _draw(axes, recall, precision, colour, style, _legend(name, order[0], "AP", overall[name, "average_precision"]))
    rate = float(label.mean())
    axes.axhline(rate, color="#777777", linewidth=0.8, linestyle=":", label=f"Chance: prevalence {rate:.4f}")
    axes.legend(loc="upper right", fontsize=8)
    return figure


def _calibration(bins: Sequence[CalibrationBin], order: list[str], overall: dict[Any, Metric], about: str) -> "Figure":
    from matplotlib.ticker import PercentFormatter

    figure, axes = _axes("Are the probabilities right? Calibration in bins of equal count", about,
                         "Predicted probability of a conversion (mean of the bin; both scales logarithmic)",
                         "Rows that converted (bars: 95 % Wilson interval)")  # fmt: skip
    drawn = [entry for entry in bins if entry.slice == "overall"]
    lowest = min([entry.mean_predicted for entry in drawn] + [e.ci_lower for e in drawn if e.n_positives])
    floor = max(lowest / 2, 1e-5)
    for name, colour, style in zip(order, COLOURS, STYLES, strict=True):
        own = [entry for entry in drawn if entry.model == name]
        x = np.array([entry.mean_predicted for entry in own])
        y = np.array([entry.observed_rate for entry in own])
        spread = [y - [entry.ci_lower for entry in own], np.array([entry.ci_upper for entry in own]) - y]
        axes.errorbar(
            x, np.maximum(y, floor), np.maximum(spread, 0), color=colour, linestyle=style, marker="o", markersize=3.5,
            linewidth=1.2, capsize=2,
            label=_legend(name, order[0], "ECE", overall[name, "expected_calibration_error"], digits=5),
        )  # fmt: skip
    axes.axline((floor, floor), slope=1, color="#777777", linewidth=0.8, linestyle=":", label="Perfect calibration")
    axes.set(xscale="log", yscale="log", xlim=(floor, None), ylim=(floor, None))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(xmax=1))
    axes.legend(loc="upper left", fontsize=8)
    return figure


def _shap_summary(explanations: Explanations, mart: Mart, champion: str, data: str, seed: int) -> "Figure":
    import matplotlib.pyplot as plt
    import shap

    # Categories have no order to colour by; the plot shows them in grey.
    values = explanations.sample_inputs.copy()
    for name in mart.categorical:
        values[name] = np.nan
    plt.figure()
    with warnings.catch_warnings():
        # shap looks for the colour range of the categories, which have none.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        shap.summary_plot(
            explanations.sample_values, values.astype(np.float64), max_display=15, show=False, plot_size=(8.5, 6.5),
            cmap="cividis", rng=np.random.default_rng(seed),
        )  # fmt: skip
    figure = plt.gcf()
    axes = figure.axes[0]
    axes.set_title(
        f"What moves the probability of a conversion ({TITLES[champion]})\n"
        f"{data}random sample of the test slice, n = {len(values):,} rows", fontsize=10,
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


def _draw(axes: Any, x: Floats, y: Floats, colour: str, style: str, legend: str) -> None:
    # One point a thousandth of either axis: more cannot be seen, and hundreds of thousands take seconds to draw.
    cell = np.round(x * CURVE_CELLS) * (CURVE_CELLS + 1) + np.round(y * CURVE_CELLS)
    kept = np.flatnonzero(np.diff(cell, prepend=-1, append=-1)[:-1] != 0)
    axes.plot(x[kept], y[kept], color=colour, linestyle=style, linewidth=1.4, label=legend)


def _legend(name: str, champion: str, metric: str, entry: Metric, digits: int = 3) -> str:
    title = TITLES[name] + (" (champion)" if name == champion else "")
    if entry.value is None or entry.ci_lower is None or entry.ci_upper is None:
        return f"{title}: {metric} not defined"
    return f"{title}: {metric} {entry.value:.{digits}f} [{entry.ci_lower:.{digits}f}, {entry.ci_upper:.{digits}f}]"
