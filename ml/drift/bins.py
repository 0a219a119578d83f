"""Bins in which two samples of a feature are compared."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ml.data.features import NONE

MISSING, OTHER = "missing", "other values"
Numbers = npt.NDArray[np.floating]
BinCodes = npt.NDArray[np.uint8]
# Codes of the rows' values, and the values.
Category = tuple[npt.NDArray[np.int32], list[str]]


@dataclass(frozen=True)
class Bins:
    """The bins of a feature, in order; the last holds missing values.

    Parameters
    ----------
    labels : tuple of str
        What each bin holds.
    edges : ndarray of shape (n_edges,)
        Upper ends, each within its bin, of a number's bins; empty for a category.
    new_value : str, optional
        The most frequent of the current sample's values that the reference does not have.
    new_value_share : float, optional
        Share of the current sample's rows that have it.
    """

    labels: tuple[str, ...]
    edges: Numbers
    new_value: str | None = None
    new_value_share: float | None = None

    def code(self, values: Numbers) -> BinCodes:
        """Return the bin of each number."""
        codes = np.searchsorted(self.edges, values, side="left").astype(np.uint8)
        codes[np.isnan(values)] = len(self.labels) - 1
        return codes


def number_bins(reference: Numbers, bins: int) -> Bins:
    """Cut a number at the reference's quantiles, which are values that it has; equal quantiles make one cut.

    Parameters
    ----------
    reference : ndarray of shape (n_rows,)
        Values of the reference, NaN where missing.
    bins : int
        Most bins.

    Returns
    -------
    Bins
        At most `bins` of about equal count, and one for missing values.

    Examples
    --------
    >>> number_bins(np.array([0, 0, 0, 1, 2, 3, np.nan]), bins=3).labels
    ('up to 0', '0 to 1', 'over 1', 'missing')
    """
    known = reference[~np.isnan(reference)]
    shares = np.arange(1, bins) / bins
    edges = np.unique(np.quantile(known, shares, method="inverted_cdf")) if len(known) else known
    if not len(edges):
        return Bins(("any value", MISSING), edges)
    texts = [f"{edge:.6g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(texts)]
    return Bins((f"up to {texts[0]}", *between, f"over {texts[-1]}", MISSING), edges)


def category_bins(reference: Category, current: Category, most: int) -> tuple[Bins, BinCodes, BinCodes]:
    """Give each of the most frequent values a bin, and the bin of each row.

    Parameters
    ----------
    reference, current : (ndarray of shape (n_rows,), list of str)
        Code of each row's value, and the values.
    most : int
        Most values with a bin of their own.

    Returns
    -------
    Bins
        The values most frequent in both samples together, one bin for the others and one for missing values.
    ndarray of shape (n_reference_rows,)
        Bin of each row of the reference.
    ndarray of shape (n_current_rows,)
        Bin of each row of the current sample.
    """
    counts = [dict(zip(values, np.bincount(codes, minlength=len(values)).tolist(), strict=True))
              for codes, values in (reference, current)]  # fmt: skip
    together = Counter(counts[0])
    together.update(counts[1])
    together.pop(NONE, None)
    named = sorted(together, key=lambda value: (-together[value], value))[:most]
    labels = (*named, OTHER, MISSING)
    place = {value: number for number, value in enumerate(named)} | {NONE: len(labels) - 1}
    new = [value for value in counts[1] if value not in counts[0] and value != NONE]
    first = min(new, key=lambda value: (-counts[1][value], value), default=None)
    codes = [
        np.array([place.get(value, len(named)) for value in values], dtype=np.uint8)[codes]
        for codes, values in (reference, current)
    ]
    share = None if first is None else counts[1][first] / len(current[0])
    return Bins(labels, np.empty(0), first, share), codes[0], codes[1]
