"""What the model card and the figures of the conversion models speak of."""

from dataclasses import dataclass

from ml.config import Config
from ml.conversion.calibration import Fit
from ml.conversion.evaluate import Evaluation, Metric
from ml.conversion.explain import Explanation
from ml.conversion.model import Model
from ml.conversion.predictions import Predictions
from ml.data.checked import Checked
from ml.publish.runs import RunRecord
from ml.run import Stamp


@dataclass(frozen=True)
class ConversionFacts:
    """What a run learnt from, found and decided about conversion."""

    config: Config
    stamp: Stamp
    record: RunRecord
    checked: Checked
    candidates: dict[str, Fit]
    champion: Model
    evaluation: Evaluation
    explanation: Explanation
    predictions: Predictions


def metric_text(entry: Metric, digits: int = 3) -> str:
    """Return a metric with its interval, as "0.838 [0.831, 0.845]".

    Parameters
    ----------
    entry : Metric
        The metric.
    digits : int
        Decimals.

    Returns
    -------
    str
        "not defined" where it has no value.
    """
    if entry.value is None or entry.ci_lower is None or entry.ci_upper is None:
        return "not defined"
    return f"{entry.value:.{digits}f} [{entry.ci_lower:.{digits}f}, {entry.ci_upper:.{digits}f}]"
