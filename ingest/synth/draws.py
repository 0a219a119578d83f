"""Random numbers that stay the same on every machine and numpy version, and tables to turn them into quantities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Tables are rounded, so that a last-bit difference between two machines' log and exp cannot reach a file.
_DIGITS = 9
_NORMAL = np.round(ndtri((np.arange(65_536) + 0.5) / 65_536), _DIGITS)


class Draws:
    """Random numbers from the raw PCG64 stream, which numpy keeps fixed between versions.

    Parameters
    ----------
    *key : int
        Seed and stream numbers; equal keys give equal draws.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(list(key)))

    def _raw(self, size: int) -> NDArray[np.uint64]:
        return np.asarray(self._bits.random_raw(size), dtype=np.uint64)

    def uniform(self, size: int) -> Floats:
        """Return `size` numbers in [0, 1)."""
        return np.asarray((self._raw(size) >> np.uint64(11)) * 2.0**-53, dtype=np.float64)

    def happens(self, chance: float | Floats, size: int) -> Bools:
        """Return `size` flags, each set with its chance."""
        return np.asarray(self.uniform(size) < chance)

    def normal(self, size: int) -> Floats:
        """Return `size` standard normal numbers."""
        return np.asarray(_NORMAL[(self._raw(size) >> np.uint64(48)).astype(np.int64)])

    def below(self, limit: Ints) -> Ints:
        """Return one integer in [0, limit) for each limit."""
        return np.asarray(np.minimum((self.uniform(len(limit)) * limit).astype(np.int64), limit - 1))

    def integers(self, limit: int, size: int) -> Ints:
        """Return `size` integers in [0, limit)."""
        return self.below(np.full(size, limit, dtype=np.int64))

    def order(self, size: int) -> Ints:
        """Return a random permutation of 0 .. size-1."""
        return np.argsort(self._raw(size), kind="stable")

    def mixed(self, *parts: tuple[float, Floats]) -> Floats:
        """Return standard normal numbers that correlate with others.

        Parameters
        ----------
        *parts : (weight, standard normal numbers)
            What they correlate with, and how much; noise fills the variance up to 1.
        """
        noise = (1.0 - sum(weight**2 for weight, _ in parts)) ** 0.5
        total = noise * self.normal(len(parts[0][1]))
        for weight, values in parts:
            total = total + weight * values
        return np.asarray(total)


def even_normal(index: Ints) -> Floats:
    """Return standard normal numbers spread evenly over consecutive indexes, with no luck in them."""
    golden = 40_503
    return np.asarray(_NORMAL[(index + 1) * golden % len(_NORMAL)])


class QuantileTable:
    """Inverse cumulative distribution of a positive duration, log-linear between quantiles.

    Parameters
    ----------
    points : tuple of (share, milliseconds)
        Cumulative share from 0 to 1 and value, both rising.
    """

    _CELLS = 1 << 14

    def __init__(self, points: tuple[tuple[float, float], ...]) -> None:
        shares, values = np.array(points).T
        grid = np.linspace(0.0, 1.0, self._CELLS + 1)
        self._table = np.round(np.exp(np.interp(grid, shares, np.log(values)))).astype(np.int64)

    def at(self, shares: Floats) -> Ints:
        """Return milliseconds at cumulative shares in [0, 1)."""
        scaled = shares * self._CELLS
        cell = scaled.astype(np.int64)
        low = self._table[cell]
        return np.asarray(low + ((scaled - cell) * (self._table[cell + 1] - low)).astype(np.int64))


def count_thresholds(head: tuple[float, ...], tail_exponent: float, largest: int) -> Floats:
    """Return the normal scores that cut a standard normal into counts 1, 2, 3, ... `largest`.

    Parameters
    ----------
    head : tuple of float
        Probability of 1, 2, ... ; what is left over is spread on the counts after it.
    tail_exponent : float
        Power with which the left-over probability falls with the count.
    largest : int
        Largest count.

    Returns
    -------
    numpy.ndarray
        `largest` - 1 rising normal scores.
    """
    tail = np.arange(len(head) + 1, largest + 1, dtype=np.float64) ** -tail_exponent
    shares = np.concatenate([head, tail / tail.sum() * (1.0 - sum(head))])
    return np.asarray(np.round(ndtri(np.minimum(np.cumsum(shares)[:-1], 1 - 1e-12)), _DIGITS))


def cumulative_table(weights: Floats) -> Ints:
    """Return running totals of weights as integers, whose sums are exact; a weight of 0 is never picked."""
    scaled = np.maximum(np.round(weights / weights.max() * 1e9), 1).astype(np.int64)
    return np.asarray(np.cumsum(np.where(weights > 0, scaled, 0)))


def pick(table: Ints, shares: Floats, low: Any = 0, high: Any = None) -> Ints:
    """Return the entry of a cumulative table at each share.

    Parameters
    ----------
    table : numpy.ndarray
        From `cumulative_table`.
    shares : numpy.ndarray
        Numbers in [0, 1).
    low, high : int or numpy.ndarray
        Only entries low .. high-1; the whole table by default.
    """
    first, last = np.asarray(low), np.asarray(len(table) if high is None else high) - 1
    before = np.where(first > 0, table[np.maximum(first - 1, 0)], 0)
    target = before + (shares * (table[last] - before)).astype(np.int64)
    return np.asarray(np.searchsorted(table, target, side="right"), dtype=np.int64)


def sigmoid(logit: Floats) -> Floats:
    """Return probabilities for log odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


def is_first(group: Ints) -> Bools:
    """Return a flag at the first row of each group, for rows sorted by group."""
    first = np.ones(len(group), dtype=bool)
    first[1:] = group[1:] != group[:-1]
    return first


def latest(flag: Bools) -> Ints:
    """Return the index of the latest flagged row at or before each row."""
    return np.asarray(np.maximum.accumulate(np.where(flag, np.arange(len(flag)), 0)))


def group_start(group: Ints) -> Ints:
    """Return the index of the first row of each row's group, for rows sorted by group."""
    return latest(is_first(group))


def place_in_group(group: Ints) -> Ints:
    """Return 0, 1, 2, ... within each group, for rows sorted by group."""
    return np.asarray(np.arange(len(group)) - group_start(group))


def running_sum(values: Ints, group: Ints) -> Ints:
    """Return the running sum that starts again at each group, for rows sorted by group."""
    total = np.cumsum(values)
    return np.asarray(total - (total - values)[group_start(group)])
