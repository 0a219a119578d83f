"""Percentile ranks and deciles that a shop can apply session by session."""

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats

SHARES = np.arange(101) / 100
BINS = 100


def percentile_ranks(calibration_score: Floats, score: Floats, tie_breaker: Floats) -> Floats:
    """Rank scores against those of the calibration rows: the share of calibration rows that score lower.

    Parameters
    ----------
    calibration_score : ndarray of shape (n_calibration_rows,)
        Scores of the calibration rows, at least one.
    score : ndarray of shape (n_rows,)
        Scores to rank.
    tie_breaker : ndarray of shape (n_rows,)
        One random number per score, in [0, 1): where it falls among calibration rows of the same score.

    Returns
    -------
    ndarray of shape (n_rows,)
        Ranks in [0, 1); the rows `percentile >= 1 - share` are the top share.
    """
    ranked = np.sort(calibration_score)
    lower = np.searchsorted(ranked, score, side="left")
    not_higher = np.searchsorted(ranked, score, side="right")
    return np.minimum((lower + tie_breaker * (not_higher - lower)) / len(ranked), np.nextafter(1.0, 0.0))


def smallest_share(percentile: Floats) -> npt.NDArray[np.int64]:
    """Return the smallest share at which each row is targeted: percentile >= (100 - percent) / 100.

    Parameters
    ----------
    percentile : ndarray of shape (n_rows,)
        Percentile ranks, 0 to 1.

    Returns
    -------
    ndarray of shape (n_rows,)
        Shares in percent, 1 to 100.
    """
    # A quotient, because 1 - 0.7 is a bit more than 0.3, and a rank of 0.3 belongs to the top 70 percent.
    lowest_percentile = np.arange(101) / 100
    return np.clip(len(SHARES) - np.searchsorted(lowest_percentile, percentile, side="right"), 1, BINS)


def deciles(percentile: Floats) -> npt.NDArray[np.int8]:
    """Return the decile of each percentile rank; decile 1 is the top 10 percent.

    Parameters
    ----------
    percentile : ndarray of shape (n_rows,)
        Percentile ranks, 0 to 1.

    Returns
    -------
    ndarray of shape (n_rows,)
        1, the highest, to 10.
    """
    return ((smallest_share(percentile) + 9) // 10).astype(np.int8)
