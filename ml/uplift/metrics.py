"""How well a score ranks sessions by what an intervention changes, with intervals that resample visitors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.arrays import Floats
from ml.bootstrap import Bootstrap
from ml.experiment.arms import Arms
from ml.experiment.average_effect import average_effect
from ml.experiment.intervals import widened
from ml.uplift.names import CHOSEN, RESPONSE
from ml.uplift.ranked import RankedArms
from warehouse.errors import FunneliftError


@dataclass(frozen=True)
class UpliftMetric:
    """One metric of one learner on the test split; `versus` names the learner it is the difference to, if any."""

    learner: str
    versus: str
    metric: str
    value: float
    ci_lower: float
    ci_upper: float
    n_rows: int
    n_treatment: int
    n_control: int


def evaluate_uplift(
    scores: dict[str, Floats], arms: Arms, top_shares: Sequence[float], bootstrap: Bootstrap
) -> list[UpliftMetric]:
    """Evaluate every score on the test rows, and pairs of scores on the same resamples.

    Metrics are qini, auuc and uplift_at_<percent>. Each score stands alone (`versus` is empty); each is also set
    against the response ranking, and each but the response ranking against the chosen one. The row of learner "all"
    is the average effect.

    Parameters
    ----------
    scores : dict of str to ndarray of shape (n_rows,)
        Learner name to its score of the test rows, higher means more uplift; ties enter the curves together, and which
        of them fill a share is drawn at random, the same way for every learner. Two names may have one array.
    arms : Arms
        The test rows.
    top_shares : sequence of float
        Shares of the rows for uplift@k.
    bootstrap : Bootstrap
        The intervals; its seed decides the order among ties too.

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
    average = average_effect(arms, bootstrap.confidence)
    found = [UpliftMetric("all", "", "average_effect", *average, *arms.counts)]
    names = ["qini", "auuc", *(f"uplift_at_{100 * share:g}" for share in top_shares)]
    weights = bootstrap.weights(arms.n_visitors)
    values: dict[str, Floats] = {}
    resampled: dict[str, Floats] = {}
    for learner, score in scores.items():
        _refuse_infinite(learner, score)
        ranked = RankedArms(score, arms, top_shares, bootstrap.seed)
        same = next((other for other in values if scores[other] is score), None)
        if same is None:
            values[learner] = ranked.metrics(np.ones((1, arms.n_visitors), np.uint8))[0]
            _refuse_undefined(learner, dict(zip(names, values[learner], strict=True)), arms)
            resampled[learner] = bootstrap.run(ranked.metrics, weights)
        else:
            values[learner], resampled[learner] = values[same], resampled[same]
        for column, (name, value) in enumerate(zip(names, values[learner], strict=True)):
            interval = bootstrap.interval(resampled[learner][:, column])
            if column >= 2:
                interval = widened(value, interval, ranked.top(top_shares[column - 2]), bootstrap.confidence)
            found.append(UpliftMetric(learner, "", name, float(value), *interval, *arms.counts))
    for versus in (RESPONSE, CHOSEN):
        for learner in scores:
            # Where the response itself was chosen, its difference to itself is told: it is what a reader looks up.
            if versus not in scores or (learner, versus) == (RESPONSE, CHOSEN):
                continue
            if scores[learner] is scores[versus] and (learner, versus) != (CHOSEN, RESPONSE):
                continue
            differences = resampled[learner] - resampled[versus]
            for name, value, column in zip(names, values[learner] - values[versus], differences.T, strict=True):
                interval = bootstrap.interval(column)
                found.append(UpliftMetric(learner, versus, name, float(value), *interval, *arms.counts))
    return found


def _refuse_infinite(learner: str, score: Floats) -> None:
    if not np.isfinite(score).all():
        raise FunneliftError(
            f"{learner}: {np.sum(~np.isfinite(score))} of {len(score)} test rows have a score that is not a "
            "finite number; look for infinite or overflowing features"
        )


def _refuse_undefined(learner: str, values: dict[str, float], arms: Arms) -> None:
    undefined = [name for name, value in values.items() if not np.isfinite(value)]
    if undefined:
        rows, treated, control = arms.counts
        raise FunneliftError(
            f"{learner}: {', '.join(undefined)} not defined on the {rows} test rows ({treated} treated, "
            f"{control} control, {np.sum(arms.outcome)} conversions): among the rows looked at an arm or every "
            "conversion is missing; use more rows or larger uplift.top_shares"
        )
