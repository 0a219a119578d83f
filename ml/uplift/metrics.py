"""How well a score ranks sessions by what an intervention changes, with intervals that resample visitors.

Everywhere `treatment` is 1 for a treated row and 0 for a control row, and `outcome` is 1 where the row converted.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels
from ml.bootstrap import percentile_interval, visitor_codes, visitor_weights
from ml.config import UpliftSettings
from ml.experiment.average_effect import average_effect
from ml.uplift.intervals import widened
from ml.uplift.names import RESPONSE, T_LEARNER
from ml.uplift.ranked import RankedArms
from warehouse.errors import FunneliftError


@dataclass(frozen=True)
class UpliftMetric:
    """One metric of one learner on the test slice; `versus` names the learner it is the difference to, if any."""

    learner: str
    versus: str
    metric: str
    value: float
    ci_lower: float
    ci_upper: float
    n_rows: int
    n_treatment: int
    n_control: int
    is_simulated: bool


def evaluate_uplift(
    scores: dict[str, Floats],
    treatment: Labels,
    outcome: Labels,
    visitor: npt.NDArray[np.int32],
    settings: UpliftSettings,
    confidence: float,
    seed: int,
    threads: int,
    is_simulated: bool,
) -> list[UpliftMetric]:
    """Judge every score on the test rows, and pairs of scores on the same resamples.

    Metrics are qini, auuc and uplift_at_<percent>. Each score stands alone (`versus` is empty); each is also set
    against the response ranking, and each but the response ranking against the T-learner. The row of learner "all" is
    the average effect.

    Parameters
    ----------
    scores : dict of str to array of float, shape (rows,)
        Learner name to its score of the test rows, higher means more uplift; ties are broken at random, the same way
        for every learner.
    treatment, outcome : array of int, shape (rows,)
        0 or 1.
    visitor : array of int, shape (rows,)
        Number of each row's visitor.
    settings : UpliftSettings
        Resamples, and the shares of uplift@k.
    confidence : float
        Confidence of the intervals, 0 to 1.
    seed : int
        Seed of the resamples and of the order among ties.
    threads : int
        Threads to use; the numbers do not depend on it.
    is_simulated : bool
        Whether arms and effects are made up.

    Returns
    -------
    list of UpliftMetric
        Percentile intervals of a bootstrap of visitors; for uplift@k see `widened` too. The average effect's interval
        is that of `average_effect`.

    Raises
    ------
    FunneliftError
        When a score is not finite, an arm holds fewer than two visitors, or a metric is not defined on these rows.
    """
    codes, n_visitors = visitor_codes(visitor)
    counts = arm_counts(treatment)
    found = [
        UpliftMetric(
            "all", "", "average_effect", *average_effect(treatment, outcome, visitor, confidence), *counts, is_simulated
        )
    ]
    shares = settings.top_shares
    names = ["qini", "auuc", *(f"uplift_at_{100 * share:g}" for share in shares)]
    weights = visitor_weights(n_visitors, settings.bootstrap_resamples, seed)
    values, resampled = {}, {}
    with ThreadPoolExecutor(threads) as pool:
        for learner, score in scores.items():
            if not np.isfinite(score).all():
                raise FunneliftError(
                    f"{learner}: {np.sum(~np.isfinite(score))} of {len(score)} test rows have a score that is not a "
                    "finite number; look for infinite or overflowing features"
                )
            ranked = RankedArms(score, treatment, outcome, codes, n_visitors, shares, seed)
            values[learner] = ranked.metrics(np.ones((1, n_visitors), np.uint8), pool)[0]
            undefined = [name for name, value in zip(names, values[learner], strict=True) if not np.isfinite(value)]
            if undefined:
                raise FunneliftError(
                    f"{learner}: {', '.join(undefined)} not defined on the {counts[0]} test rows ({counts[1]} treated, "
                    f"{counts[2]} control, {np.sum(outcome)} conversions): among the rows looked at an arm or every "
                    "conversion is missing; use more rows or larger uplift.top_shares"
                )
            resampled[learner] = ranked.metrics(weights, pool)
            for column, (name, value) in enumerate(zip(names, values[learner], strict=True)):
                interval = percentile_interval(resampled[learner][:, column], confidence)
                if column >= 2:
                    top = ranked.order[: int(len(score) * shares[column - 2])]
                    interval = widened(value, interval, treatment[top], outcome[top], visitor[top], confidence)
                found.append(UpliftMetric(learner, "", name, float(value), *interval, *counts, is_simulated))
    for versus in (RESPONSE, T_LEARNER):
        for learner in scores:
            if versus not in scores or learner == versus or (learner, versus) == (RESPONSE, T_LEARNER):
                continue
            differences = resampled[learner] - resampled[versus]
            for name, value, column in zip(names, values[learner] - values[versus], differences.T, strict=True):
                interval = percentile_interval(column, confidence)
                found.append(UpliftMetric(learner, versus, name, float(value), *interval, *counts, is_simulated))
    return found


def arm_counts(treatment: Labels) -> tuple[int, int, int]:
    """Count all rows, treated rows and control rows."""
    return len(treatment), int(np.sum(treatment == 1)), int(np.sum(treatment == 0))
