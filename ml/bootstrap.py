"""Intervals by a bootstrap that resamples visitors, not rows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows, Weights

RESAMPLES_AT_ONCE = 10


@dataclass(frozen=True)
class Bootstrap:
    """A Poisson bootstrap of visitors: a resample gives each visitor, hence all its rows, one weight of mean 1.

    Parameters
    ----------
    resamples : int
        Number of resamples.
    confidence : float
        Confidence of the intervals, 0 to 1.
    seed : int
        Seed of the draw.
    threads : int
        Threads that share the resamples; the numbers do not depend on it.

    References
    ----------
    Chamandy, Muralidharan, Najmi and Naidu (2012), Estimating uncertainty for massive data streams, Google.
    """

    resamples: int
    confidence: float
    seed: int
    threads: int = 1

    def weights(self, visitors: int) -> Weights:
        """Draw the weights: ndarray of shape (n_resamples, n_visitors), the same ones each time.

        Parameters
        ----------
        visitors : int
            Number of visitors.

        Returns
        -------
        ndarray of shape (n_resamples, n_visitors)
            How often each resample holds each visitor, 0 to 255.
        """
        quantiles = _poisson_quantiles()
        rng = np.random.default_rng(self.seed)
        weights = np.empty((self.resamples, visitors), dtype=np.uint8)
        for row in weights:
            row[:] = quantiles.take(rng.integers(0, 2**16, visitors, dtype=np.uint16))
        return weights

    def run(self, statistic: Callable[[Weights], Floats], weights: Weights) -> Floats:
        """Compute a statistic under weights of the visitors, a few resamples at a time to bound the memory.

        Parameters
        ----------
        statistic : callable
            Takes weights of shape (n_some, n_visitors) and returns an ndarray of shape (n_some, ...).
        weights : ndarray of shape (n_resamples, n_visitors)
            Weights that `weights` drew, or columns of them.

        Returns
        -------
        ndarray of shape (n_resamples, ...)
            The statistic of every resample.
        """
        some = np.split(weights, range(RESAMPLES_AT_ONCE, len(weights), RESAMPLES_AT_ONCE))
        with ThreadPoolExecutor(self.threads) as pool:
            return np.concatenate(list(pool.map(statistic, some)))

    def interval(self, resampled: Floats) -> tuple[float, float]:
        """Return the percentile interval of resampled values; those that are not finite are left out.

        Parameters
        ----------
        resampled : ndarray of shape (n_resamples,)
            The values.

        Returns
        -------
        (float, float)
            Lower and upper end; NaN where no value is finite.

        Examples
        --------
        >>> Bootstrap(resamples=101, confidence=0.5, seed=1).interval(np.arange(101.0))
        (25.0, 75.0)
        """
        finite = resampled[np.isfinite(resampled)]
        if not len(finite):
            return np.nan, np.nan
        tail = 50 * (1 - self.confidence)
        lower, upper = np.percentile(finite, [tail, 100 - tail])
        return float(lower), float(upper)


@cache
def _poisson_quantiles() -> Weights:
    from scipy.stats import poisson

    # Inverse-CDF sampling from a table: eight times faster than drawing Poisson numbers one by one.
    return np.asarray(poisson.ppf((np.arange(2**16) + 0.5) / 2**16, mu=1).astype(np.uint8))


def visitor_codes(visitor: npt.NDArray[np.int32]) -> tuple[Rows, int]:
    """Number the visitors of some rows from 0 on.

    Parameters
    ----------
    visitor : ndarray of shape (n_rows,)
        Any number of each row's visitor.

    Returns
    -------
    ndarray of shape (n_rows,)
        Visitor code of each row.
    int
        How many visitors there are.
    """
    known, codes = np.unique(visitor, return_inverse=True)
    return codes, len(known)


def resampled_sums(columns: Floats, segment: Rows, segments: int, codes: Rows, weights: Weights) -> Floats:
    """Sum columns over the rows of each segment under weights: shape (n_resamples, n_segments, n_columns)."""
    order = np.argsort(segment, kind="stable")
    bounds = np.searchsorted(segment[order], np.arange(segments + 1))
    columns, codes = columns[order], codes[order]
    parts = []
    for start in range(0, len(weights), RESAMPLES_AT_ONCE):
        part = weights[start : start + RESAMPLES_AT_ONCE].take(codes, axis=1).astype(np.float64)
        parts.append(np.stack([part[:, a:b] @ columns[a:b] for a, b in pairwise(bounds)], axis=1))
    return np.concatenate(parts)
