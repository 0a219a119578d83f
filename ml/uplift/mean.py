"""The mean of the candidates that the data cannot tell from the best."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml.uplift.candidates import Candidate, Models, Ranking
from ml.uplift.choice import BY_SIMPLICITY, compare
from ml.uplift.evidence import Evidence
from ml.uplift.names import MEAN, STACK

ERRORS = 2.0


@dataclass(frozen=True)
class Mean:
    """The mean as a candidate, and whose mean it is, the simplest first."""

    candidate: Candidate
    members: tuple[str, ...]


def fit_mean(candidates: Mapping[str, Candidate], evidence: Evidence) -> Mean | None:
    """Take the mean of the candidates that are not shown to be worse than the best by more than two standard errors.

    Which of them is the best the data often cannot say, and the luck of a few buyers would decide. Those that may be
    the best err in different ways, so their mean errs less than most of them. Each enters on the scale of the effects:
    times the slope of the doubly robust scores on its own. One whose scores do not rise with the effects has no part,
    nor has the stack, which is a mixture itself.

    Parameters
    ----------
    candidates : mapping of str to Candidate
        What can have a part.
    evidence : Evidence
        The rows that they were fitted on.

    Returns
    -------
    Mean or None
        The weighted sum, written in the candidates' own parts; None where fewer than two candidates have a part.

    References
    ----------
    Hansen, Lunde & Nason (2011), The model confidence set, Econometrica 79:453-497; Bates & Granger (1969), The
    combination of forecasts, Operational Research Quarterly 20:451-468.
    """
    names = [name for name in BY_SIMPLICITY if name in candidates and name != STACK]
    compared = compare({name: candidates[name] for name in names}, evidence)
    members = tuple(
        name
        for name, entry in zip(names, compared, strict=True)
        if entry.slope > 0 and entry.behind <= ERRORS * entry.behind_error
    )
    if len(members) < 2:
        return None
    slopes = {name: entry.slope for name, entry in zip(names, compared, strict=True)}
    parts: dict[str, float] = {}
    models: Models = {}
    for name in members:
        ranking = candidates[name].ranking
        models |= ranking.models
        for part, own in ranking.weights.items():
            parts[part] = parts.get(part, 0.0) + slopes[name] / len(members) * own
    crossed = np.mean([slopes[name] * candidates[name].crossed for name in members], axis=0)
    return Mean(Candidate(Ranking(MEAN, parts, models), crossed), members)
