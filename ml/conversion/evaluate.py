"""How good are the probabilities: discrimination, calibration, slices, and intervals that resample visitors."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels, Rows, Weights, finite_or_none
from ml.bootstrap import Bootstrap, visitor_codes
from ml.conversion.calibration import Fit
from ml.conversion.curve import CalibrationBin, calibration_curve
from ml.conversion.ranked import METRICS, RankedScores
from ml.data.rows import Dataset, renumbered


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
        Positions in the data set of the test rows that are evaluated.
    split_rows : int
        How many rows the test split has.
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
    split_rows: int
    label: Labels
    probabilities: dict[str, Floats]
    metrics: list[Metric]
    curves: list[CalibrationBin]

    @property
    def is_sample(self) -> bool:
        """Whether some visitors alone are evaluated."""
        return len(self.rows) < self.split_rows

    def overall(self, model: str) -> dict[str, Metric]:
        """Return a model's metrics on all test rows by name."""
        return {entry.metric: entry for entry in self.metrics if (entry.model, entry.slice) == (model, "overall")}


def evaluate(
    fits: dict[str, Fit], data: Dataset, rows: Rows, is_seen: npt.NDArray[np.bool_], *, split_rows: int, bins: int,
    bootstrap: Bootstrap,
) -> Evaluation:  # fmt: skip
    """Evaluate every model on the test split, or on some visitors of it.

    Parameters
    ----------
    fits : dict of str to Fit
        Models by name.
    data : Dataset
        Rows.
    rows : ndarray of shape (n_test_rows,)
        Positions of the test rows that are evaluated.
    is_seen : ndarray of shape (n_test_rows,)
        Whether the training split has rows of the same visitor.
    split_rows : int
        How many rows the test split has.
    bins : int
        Bins of the calibration curves and of the expected calibration error.
    bootstrap : Bootstrap
        Resamples of the visitors.

    Returns
    -------
    Evaluation
        Metrics with intervals, calibration curves, and the probabilities they come from.
    """
    label = data.label[rows]
    with ThreadPoolExecutor(bootstrap.threads) as pool:
        said = [
            list(pool.map(lambda fit, part=part: fit.probability(part), fits.values())) for part in data.parts(rows)
        ]
    probabilities = {name: np.concatenate(own) for name, own in zip(fits, zip(*said, strict=True), strict=True)}
    slices = slices_of(data, rows, is_seen)
    curves = [
        entry
        for model, probability in probabilities.items()
        for name, own in slices.items()
        if name == "overall" or name.startswith("decision_point=")
        for entry in calibration_curve(model, name, probability[own], label[own], bins)
    ]
    metrics = slice_metrics(
        probabilities, label, renumbered(data.visitor[rows]), slices, bins=bins, bootstrap=bootstrap
    )
    return Evaluation(rows, split_rows, label, probabilities, metrics, curves)


def slices_of(data: Dataset, rows: Rows, is_seen: npt.NDArray[np.bool_]) -> dict[str, Rows]:
    """Return the slices on which every model is evaluated.

    Parameters
    ----------
    data : Dataset
        All rows.
    rows : ndarray of shape (n_test_rows,)
        Positions of the test rows.
    is_seen : ndarray of shape (n_test_rows,)
        Whether the training split has rows of the same visitor.

    Returns
    -------
    dict
        Slice name to positions within `rows`; empty slices are left out.
    """
    points = data.decision_point
    new = data.is_new_visitor[rows] == 1
    slices = {"overall": np.arange(len(rows))}
    for code, point in enumerate(points.categories):
        slices[f"decision_point={point}"] = np.flatnonzero(points.codes[rows] == code)
    slices["visitor=new"] = np.flatnonzero(new)
    slices["visitor=returning"] = np.flatnonzero(~new)
    slices["visitor=unseen_in_training"] = np.flatnonzero(~is_seen)
    return {name: positions for name, positions in slices.items() if len(positions)}


def _metrics(ranked: RankedScores, present: Rows, weights: Weights) -> Floats:
    # Of a few resamples at a time: all of them, copied for a slice of most visitors, would be the largest thing here.
    return ranked.metrics(weights.take(present, axis=1))


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
        counts = (len(rows), int(label[rows].sum()), len(present))
        for model, probability in probabilities.items():
            ranked = RankedScores(probability[rows], label[rows], own, len(present), bins)
            values = ranked.metrics(np.ones((1, len(present)), np.uint8))[0]
            resampled = bootstrap.run(partial(_metrics, ranked, present), resamples)
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
