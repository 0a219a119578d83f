"""How good are the probabilities: discrimination, calibration, slices, and intervals that resample visitors."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels, Rows, finite_or_none
from ml.bootstrap import Bootstrap, visitor_codes
from ml.conversion.calibration import Fit
from ml.conversion.curve import CalibrationBin, calibration_curve
from ml.conversion.ranked import METRICS, RankedScores
from ml.data.rows import Dataset
from ml.data.split import Splits


@dataclass(frozen=True)
class Metric:
    """One metric of one model on one slice of the test rows, with its bootstrap interval."""

    model: str
    slice: str
    metric: str
    value: float | None
    ci_lower: float | None
    ci_upper: float | None
    n_rows: int
    n_positives: int
    n_visitors: int


@dataclass(frozen=True)
class Evaluation:
    """How good every model is on the test rows.

    Parameters
    ----------
    rows : ndarray of shape (n_test_rows,)
        Positions of the test rows in the data set.
    label : ndarray of shape (n_test_rows,)
        1 where the test row converted.
    probabilities : dict of str to ndarray of shape (n_test_rows,)
        Model name to its calibrated probabilities.
    metrics : list of Metric
        Metrics of every model on every slice.
    curves : list of CalibrationBin
        Calibration curves of every model, overall and at each decision point.
    """

    rows: Rows
    label: Labels
    probabilities: dict[str, Floats]
    metrics: list[Metric]
    curves: list[CalibrationBin]

    def overall(self, model: str) -> dict[str, Metric]:
        """Return a model's metrics on all test rows by name."""
        return {entry.metric: entry for entry in self.metrics if (entry.model, entry.slice) == (model, "overall")}


def evaluate(fits: dict[str, Fit], data: Dataset, splits: Splits, *, bins: int, bootstrap: Bootstrap) -> Evaluation:
    """Evaluate every model on the test split.

    Parameters
    ----------
    fits : dict of str to Fit
        Models by name.
    data : Dataset
        All rows.
    splits : Splits
        Their splits.
    bins : int
        Bins of the calibration curves and of the expected calibration error.
    bootstrap : Bootstrap
        Resamples of the visitors.

    Returns
    -------
    Evaluation
        Metrics with intervals, calibration curves, and the probabilities they come from.
    """
    rows = splits.rows("test")
    inputs, label = data.inputs.iloc[rows], data.label[rows]
    with ThreadPoolExecutor(bootstrap.threads) as pool:
        said = pool.map(lambda fit: fit.probability(inputs), fits.values())
        probabilities = dict(zip(fits, said, strict=True))
    slices = slices_of(data, rows, splits.rows("train"))
    curves = [
        entry
        for model, probability in probabilities.items()
        for name, own in slices.items()
        if name == "overall" or name.startswith("decision_point=")
        for entry in calibration_curve(model, name, probability[own], label[own], bins)
    ]
    metrics = slice_metrics(probabilities, label, data.visitor[rows], slices, bins=bins, bootstrap=bootstrap)
    return Evaluation(rows, label, probabilities, metrics, curves)


def slices_of(data: Dataset, rows: Rows, train_rows: Rows) -> dict[str, Rows]:
    """Return the slices on which every model is evaluated.

    Parameters
    ----------
    data : Dataset
        All rows.
    rows : ndarray of shape (n_test_rows,)
        Positions of the test rows.
    train_rows : ndarray of int
        Positions of the training split's rows.

    Returns
    -------
    dict
        Slice name to positions within `rows`; empty slices are left out.
    """
    seen = np.zeros(int(data.visitor.max()) + 1, dtype=bool)
    seen[data.visitor[train_rows]] = True
    points = data.decision_point
    new = data.is_new_visitor[rows] == 1
    slices = {"overall": np.arange(len(rows))}
    for code, point in enumerate(points.categories):
        slices[f"decision_point={point}"] = np.flatnonzero(points.codes[rows] == code)
    slices["visitor=new"] = np.flatnonzero(new)
    slices["visitor=returning"] = np.flatnonzero(~new)
    slices["visitor=unseen_in_training"] = np.flatnonzero(~seen[data.visitor[rows]])
    return {name: positions for name, positions in slices.items() if len(positions)}


def slice_metrics(
    probabilities: dict[str, Floats],
    label: Labels,
    visitor: npt.NDArray[np.int32],
    slices: dict[str, Rows],
    *,
    bins: int,
    bootstrap: Bootstrap,
) -> list[Metric]:
    """Return every metric of every model on every slice of the test rows.

    Parameters
    ----------
    probabilities : dict of str to ndarray of shape (n_rows,)
        Model name to its calibrated probabilities of the test rows.
    label : ndarray of shape (n_rows,)
        1 where the test row converted.
    visitor : ndarray of shape (n_rows,)
        Number of each test row's visitor.
    slices : dict of str to ndarray of int
        Slice name to positions within the test rows.
    bins : int
        Bins of the expected calibration error.
    bootstrap : Bootstrap
        Resamples of the visitors.

    Returns
    -------
    list of Metric
        Every metric with a percentile interval; None where a slice lacks one of the classes.
    """
    codes, n_visitors = visitor_codes(visitor)
    resamples = bootstrap.weights(n_visitors)
    found = []
    for name, rows in slices.items():
        present, own = np.unique(codes[rows], return_inverse=True)
        weights = resamples[:, present]
        counts = (len(rows), int(label[rows].sum()), len(present))
        for model, probability in probabilities.items():
            ranked = RankedScores(probability[rows], label[rows], own, len(present), bins)
            values = ranked.metrics(np.ones((1, len(present)), np.uint8))[0]
            resampled = bootstrap.run(ranked.metrics, weights)
            for metric, value, column in zip(METRICS, values, resampled.T, strict=True):
                lower, upper = bootstrap.interval(column)
                found.append(
                    Metric(
                        model,
                        name,
                        metric,
                        finite_or_none(value),
                        finite_or_none(lower),
                        finite_or_none(upper),
                        *counts,
                    )
                )
    return found
