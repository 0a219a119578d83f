"""The stack: the candidates weighed against each other."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.uplift.candidates import Candidate, Models, Ranking
from ml.uplift.evidence import Evidence
from ml.uplift.names import STACK


def fit_stack(candidates: Mapping[str, Candidate], evidence: Evidence, folds: int) -> Candidate | None:
    """Regress the doubly robust scores on what the candidates say by models of other folds, no weight below 0.

    Parameters
    ----------
    candidates : mapping of str to Candidate
        What is weighed.
    evidence : Evidence
        The rows that they were fitted on.
    folds : int
        Number of folds: in each, rows are predicted with weights that the other folds gave.

    Returns
    -------
    Candidate or None
        The weighted sum, written in the candidates' own parts; None where no candidate gets a weight.

    References
    ----------
    Breiman (1996), Stacked regressions, Machine Learning 24:49-64.
    """
    said = np.column_stack([candidate.crossed for candidate in candidates.values()])
    crossed = np.zeros(len(evidence))
    for fold in range(folds):
        held_out = evidence.fold == fold
        crossed[held_out] = said[held_out] @ _weights(said, evidence, ~held_out)
    weights = _weights(said, evidence, np.ones(len(evidence), dtype=bool))
    if not weights.any() or np.ptp(crossed) == 0:
        return None
    parts: dict[str, float] = {}
    models: Models = {}
    for weight, candidate in zip(weights, candidates.values(), strict=True):
        if weight > 0:
            models |= candidate.ranking.models
            for part, own in candidate.ranking.weights.items():
                parts[part] = parts.get(part, 0.0) + float(weight) * own
    return Candidate(Ranking(STACK, parts, models), crossed)


def _weights(said: Floats, evidence: Evidence, which: npt.NDArray[np.bool_]) -> Floats:
    """Non-negative least squares with an intercept, rows weighted by how good witnesses they are."""
    from scipy.optimize import nnls

    weight = evidence.weights[which]
    columns = said[which] - np.average(said[which], axis=0, weights=weight)
    target = evidence.effects[which] - np.average(evidence.effects[which], weights=weight)
    scale = np.sqrt(np.average(columns**2, axis=0, weights=weight))
    known = scale > 0
    found = np.zeros(len(scale))
    if known.any():
        # The triangle of a QR decomposition holds all that least squares needs, in as many rows as columns.
        root = np.sqrt(weight)[:, np.newaxis]
        matrix = np.column_stack([columns[:, known] / scale[known], target]) * root
        triangle = np.asarray(np.linalg.qr(matrix, mode="r"))
        found[known] = nnls(triangle[:, :-1], triangle[:, -1])[0] / scale[known]
    return found
