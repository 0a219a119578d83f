"""A small regression tree on binned features, whose splits can be said in words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows
from ml.data.features import NONE, Feature

if TYPE_CHECKING:
    import pandas as pd

CUTS = 30
# Codes below it are bins; it stands for a missing number.
MISSING = 2 * CUTS + 2
BINS = MISSING + 1
Codes8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Binned:
    """How one feature is binned: upper bounds of the bins of a number, or the levels of a category.

    `is_count` says that all values are whole and none is below 0, `may_lack` that some are missing.
    """

    feature: Feature
    bounds: Floats
    levels: tuple[str, ...]
    is_count: bool = False
    may_lack: bool = False

    @classmethod
    def of(cls, feature: Feature, column: "pd.Series[float]") -> "Binned":
        """Take bounds from values: quantiles, and those of the values above the smallest, to three digits."""
        if feature.kind == "categorical":
            return cls(feature, np.empty(0), tuple(map(str, column.cat.categories)))
        values = column.to_numpy().astype(np.float64)
        known = np.isfinite(values)
        may_lack, values = not bool(known.all()), values[known]
        if not len(values):
            return cls(feature, np.empty(0), (), may_lack=may_lack)
        shares = np.linspace(0, 1, CUTS + 1)[:-1]
        above = values[values > values.min()]
        bounds = np.quantile(values, shares, method="lower")
        if len(above):
            bounds = np.append(bounds, np.quantile(above, shares, method="lower"))
        rounded = np.unique([float(f"{bound:.3g}") for bound in bounds])
        is_count = bool(values.min() >= 0 and np.all(values == np.round(values)))
        return cls(feature, rounded[rounded < values.max()], (), is_count, may_lack)

    def codes(self, column: "pd.Series[float]") -> Codes8:
        """Return the bin of each value."""
        if self.feature.kind == "categorical":
            return np.asarray(column.cat.codes.to_numpy() % BINS, dtype=np.uint8)
        values = column.to_numpy().astype(np.float64)
        bins = np.searchsorted(self.bounds, values, side="left")
        return np.where(np.isfinite(values), bins, MISSING).astype(np.uint8)


@dataclass(frozen=True)
class Split:
    """One question: is the number at most a bound, or the category a level; `with_missing` joins unknown numbers."""

    place: int
    bin: int
    with_missing: bool


@dataclass(frozen=True)
class Side:
    """A split and the answer to it on the way to a leaf."""

    split: Split
    is_left: bool


Path = tuple[Side, ...]


@dataclass(frozen=True)
class Tree:
    """The paths to the leaves, and how each feature is binned."""

    binned: tuple[Binned, ...]
    leaves: tuple[Path, ...]

    def leaf_of(self, inputs: "pd.DataFrame") -> Rows:
        """Return the position of each row's leaf in `leaves`: ndarray of shape (n_rows,)."""
        used = {side.split.place for path in self.leaves for side in path}
        codes = {place: self.binned[place].codes(inputs[self.binned[place].feature.name]) for place in used}
        found = np.zeros(len(inputs), dtype=np.intp)
        for number, path in enumerate(self.leaves):
            within = np.ones(len(inputs), dtype=bool)
            for side in path:
                within &= self._goes_left(side.split, codes[side.split.place]) == side.is_left
            found[within] = number
        return found

    def _goes_left(self, split: Split, codes: Codes8) -> npt.NDArray[np.bool_]:
        return goes_left(split, codes, is_category=self.binned[split.place].feature.kind == "categorical")

    def words(self, number: int) -> str:
        """Say in words which rows are in a leaf, as "cart so far: yes, earlier sessions: 2 or more"."""
        path = self.leaves[number]
        places = list(dict.fromkeys(side.split.place for side in path))
        return ", ".join(
            condition(self.binned[place], [side for side in path if side.split.place == place]) for place in places
        )


@dataclass(frozen=True)
class Sample:
    """Binned rows with a target and weights."""

    codes: Codes8
    target: Floats
    weight: Floats
    is_category: tuple[bool, ...]
    fewest: int

    def take(self, rows: npt.NDArray[np.bool_]) -> "Sample":
        """Return some rows; a leaf may then be smaller in proportion."""
        fewest = max(1, round(self.fewest * float(rows.mean())))
        return replace(
            self, codes=self.codes[:, rows], target=self.target[rows], weight=self.weight[rows], fewest=fewest
        )


def goes_left(split: Split, codes: Codes8, *, is_category: bool) -> npt.NDArray[np.bool_]:
    """Say which rows answer yes."""
    left = codes == split.bin if is_category else codes <= split.bin
    return np.asarray(left | (codes == MISSING) if split.with_missing else left)


def grow(sample: Sample, depth: int) -> list[list[Path]]:
    """Grow a tree by least squares, level by level.

    Parameters
    ----------
    sample : Sample
        Rows to learn from.
    depth : int
        Most questions on the way to a leaf.

    Returns
    -------
    list of list of Path
        The leaves of the tree cut at each depth from 0 on.
    """
    levels: list[list[Path]] = [[()]]
    node = np.zeros(len(sample.target), dtype=np.intp)
    for _ in range(depth):
        splits = _best_splits(sample, node, len(levels[-1]))
        paths: list[Path] = []
        after = np.empty_like(node)
        for number, (path, split) in enumerate(zip(levels[-1], splits, strict=True)):
            own = np.flatnonzero(node == number)
            after[own] = len(paths)
            if split is None:
                paths.append(path)
                continue
            left = goes_left(split, sample.codes[split.place, own], is_category=sample.is_category[split.place])
            after[own[~left]] += 1
            paths += [(*path, Side(split, is_left=True)), (*path, Side(split, is_left=False))]
        node = after
        levels.append(paths)
    return levels


def leaves_of(paths: Sequence[Path], sample: Sample) -> Rows:
    """Return the leaf of each row of a sample: ndarray of shape (n_rows,)."""
    found = np.zeros(sample.codes.shape[1], dtype=np.intp)
    for number, path in enumerate(paths):
        within = np.ones(len(found), dtype=bool)
        for side in path:
            place = side.split.place
            within &= goes_left(side.split, sample.codes[place], is_category=sample.is_category[place]) == side.is_left
        found[within] = number
    return found


def _best_splits(sample: Sample, node: Rows, nodes: int) -> list[Split | None]:
    """For each node the split that explains most, None where none leaves enough rows on both sides."""
    best: list[tuple[float, Split | None]] = [(0.0, None)] * nodes
    weighted, cell_of_node = sample.weight * sample.target, node * BINS
    for place, is_category in enumerate(sample.is_category):
        cell = cell_of_node + sample.codes[place]
        rows, weight, total = (
            np.bincount(cell, values, nodes * BINS).reshape(nodes, BINS).astype(np.float64)
            for values in (None, sample.weight, weighted)
        )
        sums = np.stack([rows, weight, total])
        for with_missing in (False,) if is_category or not rows[:, MISSING].any() else (False, True):
            left = sums.copy() if is_category else np.cumsum(sums[..., :MISSING], axis=-1)
            if with_missing:
                left = left + sums[..., MISSING:]
            gains = _gains(left, sums.sum(axis=-1, keepdims=True), sample.fewest)
            at = np.argmax(gains, axis=-1)
            for number in range(nodes):
                gain = float(gains[number, at[number]])
                # Equal gains go to the first feature, so that nothing hangs on rounding.
                if gain > best[number][0] * (1 + 1e-9) + 1e-12:
                    best[number] = (gain, Split(place, int(at[number]), with_missing))
    return [split for _, split in best]


def _gains(left: Floats, whole: Floats, fewest: int) -> Floats:
    """Squared error saved by each split: shape (n_nodes, n_bins)."""
    right = whole - left
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = left[2] ** 2 / left[1] + right[2] ** 2 / right[1] - whole[2] ** 2 / whole[1]
    return np.where((left[0] >= fewest) & (right[0] >= fewest) & np.isfinite(gain), gain, 0.0)


def condition(binned: Binned, sides: Sequence[Side]) -> str:
    """Say in words what the answers about one feature leave."""
    name = binned.feature.label
    if binned.feature.kind == "categorical":
        named = [side.split.bin for side in sides if side.is_left]
        levels = [_level(binned.levels[bin_]) for bin_ in named or [side.split.bin for side in sides]]
        return f"{name}: {'' if named else 'not '}{' nor '.join(levels)}"
    lower = max((side.split.bin for side in sides if not side.is_left), default=-1)
    upper = min((side.split.bin for side in sides if side.is_left), default=len(binned.bounds))
    unknown = binned.may_lack and all(side.split.with_missing == side.is_left for side in sides)
    low = binned.bounds[lower] if 0 <= lower < len(binned.bounds) else None
    high = binned.bounds[upper] if upper < len(binned.bounds) else None
    if lower >= len(binned.bounds):
        return f"{name}: not known"
    return f"{name}: {_span(low, high, binned)}{' or not known' if unknown else ''}"


def _span(low: float | None, high: float | None, binned: Binned) -> str:
    """Say a range: above `low`, at most `high`."""
    if low is None and high is None:
        return "known"
    if binned.feature.is_flag:
        return "no" if low is None else "yes"
    if not binned.is_count:
        return " and ".join(
            f"{word} {_number(value)}" for word, value in (("above", low), ("at most", high)) if value is not None
        )
    if high is None:
        return f"{int(low or 0) + 1:,} or more"
    if low is None:
        return "0" if high == 0 else f"at most {high:,.0f}"
    return f"{high:,.0f}" if int(low) + 1 == high else f"{int(low) + 1:,} to {high:,.0f}"


def _number(value: float) -> str:
    """Write a bound, which has three digits, in full."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _level(level: str) -> str:
    return "not known" if level == NONE else level
