"""Splits in time: train | embargo | calibration | embargo | test, and the sample that trains."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Labels, Rows
from ml.config import Sampling, Split
from ml.data.draw import Draw
from ml.data.rows import Dataset, to_codes
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd

MODEL_SPLITS = ("train", "calibration", "test")
SPLITS = (*MODEL_SPLITS, "embargo", "open", "implausible")
# What no training has split, because it came later.
NEW = "new"
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Bounds:
    """The times between the splits (epoch ms), from the first closed session's row to the last."""

    starts_ms: int
    calibration_ms: int
    test_ms: int
    ends_ms: int
    embargo_ms: int


@dataclass(frozen=True)
class Splits(Bounds):
    """The split of every row, as a position in `SPLITS`, and the times between the splits."""

    codes: Codes

    @property
    def bounds(self) -> Bounds:
        """The times alone."""
        return Bounds(**{field.name: getattr(self, field.name) for field in fields(Bounds)})

    def rows(self, name: str) -> Rows:
        """Return the positions of a split's rows."""
        return np.flatnonzero(self.codes == SPLITS.index(name))

    @property
    def names(self) -> "pd.Categorical":
        """Split of each row by name."""
        import pandas as pd

        return pd.Categorical.from_codes(self.codes, pd.Index(SPLITS, dtype=object))


def split_by_time(data: Dataset, settings: Split) -> Splits:
    """Split the rows by decision time, so that a model is evaluated on what came after what it learnt from.

    The boundaries lie at shares of the time span of the closed sessions' rows. The embargo follows each boundary:
    rows at or after it and less than `embargo_seconds` later belong to the embargo. So do rows of a session that began
    in an earlier split, however long it lasted. Rows of sessions still open are only scored, and so are closed ones of
    an implausible time, before the span.

    Parameters
    ----------
    data : Dataset
        Rows ordered by time.
    settings : Split
        Shares and embargo.

    Returns
    -------
    Splits
        One split per row.

    Raises
    ------
    FunneliftError
        When a split has too few converting rows to learn from or to evaluate by.
    """
    times = data.decided_ms
    closed = times[(data.is_mature == 1) & (times >= data.plausible_from_ms)]
    first, last = (int(closed.min()), int(closed.max())) if len(closed) else (0, 0)
    splits = split_at(data, bounds_of(first, last, settings))
    check_conversions({name: int(data.label[splits.rows(name)].sum()) for name in MODEL_SPLITS}, splits, settings)
    return splits


def bounds_of(first_ms: int, last_ms: int, settings: Split) -> Bounds:
    """Return the times between the splits.

    Parameters
    ----------
    first_ms, last_ms : int
        When the first and the last row of a closed session and of a plausible time were decided.
    settings : Split
        Shares and embargo.

    Returns
    -------
    Bounds
        The times.
    """
    span = last_ms - first_ms
    return Bounds(
        starts_ms=first_ms,
        calibration_ms=first_ms + round(span * settings.train_share),
        test_ms=first_ms + round(span * (settings.train_share + settings.calibration_share)),
        ends_ms=last_ms,
        embargo_ms=settings.embargo_seconds * 1000,
    )


def split_at(data: Dataset, bounds: Bounds) -> Splits:
    """Split the rows at given times, as `split_by_time` does at those that it chooses.

    Parameters
    ----------
    data : Dataset
        Rows ordered by time.
    bounds : Bounds
        The times.

    Returns
    -------
    Splits
        One split per row.
    """
    codes = codes_at(data.decided_ms, data.is_mature, bounds, data.plausible_from_ms)
    _embargo_begun_earlier(codes, data)
    return Splits(**asdict(bounds), codes=codes)


def codes_at(
    decided_ms: npt.NDArray[np.int64], is_mature: npt.NDArray[np.int8], bounds: Bounds, plausible_from_ms: int
) -> Codes:  # fmt: skip
    """Split rows by their times alone, wherever their sessions began.

    Parameters
    ----------
    decided_ms : ndarray of shape (n_rows,)
        When each row was decided (epoch ms).
    is_mature : ndarray of shape (n_rows,)
        1 where its session is closed.
    bounds : Bounds
        The times between the splits.
    plausible_from_ms : int
        Rows before have an implausible time.

    Returns
    -------
    ndarray of shape (n_rows,)
        Positions in `SPLITS`.
    """
    mature, times = is_mature == 1, decided_ms
    codes = np.full(len(times), SPLITS.index("open"), dtype=np.int8)
    codes[mature] = SPLITS.index("embargo")
    codes[mature & (times < bounds.calibration_ms)] = SPLITS.index("train")
    in_calibration = (times >= bounds.calibration_ms + bounds.embargo_ms) & (times < bounds.test_ms)
    codes[mature & in_calibration] = SPLITS.index("calibration")
    codes[mature & (times >= bounds.test_ms + bounds.embargo_ms)] = SPLITS.index("test")
    codes[mature & (times < plausible_from_ms)] = SPLITS.index("implausible")
    return codes


@dataclass(frozen=True)
class Classes:
    """How many rows converted, and how many did not."""

    positives: int
    negatives: int

    @property
    def rows(self) -> int:
        """All of them."""
        return self.positives + self.negatives

    @classmethod
    def of(cls, label: Labels) -> "Classes":
        """Count them: `label` is an ndarray of shape (n_rows,)."""
        positives = int((label == 1).sum())
        return cls(positives, len(label) - positives)

    def sample(self, settings: Sampling) -> "Classes":
        """Say how many of each class train: all converting rows and some of the others, unless that is too much."""
        wanted = max(settings.min_negatives, round(settings.negatives_per_positive * self.positives))
        return self.bounded(settings.max_rows, wanted)

    def bounded(self, max_rows: int, wanted: int | None = None) -> "Classes":
        """Say how many of each class are kept: where all are too many, half of the bound at most has converted."""
        wanted = min(self.rows if wanted is None else wanted, self.negatives)
        positives = min(self.positives, max(max_rows // 2, max_rows - wanted))
        return Classes(positives, min(wanted, max_rows - positives))


def sample_negatives(
    rows: Rows, label: Labels, settings: Sampling, draw: Draw, of: Classes | None = None
) -> tuple[Rows, npt.NDArray[np.float32]]:
    """Keep all converting rows and a sample of the others, with the weights that undo the sampling.

    Parameters
    ----------
    rows : ndarray of int
        Positions of the training split's rows.
    label : ndarray of shape (n_rows,)
        Label of every row of the data set.
    settings : Sampling
        How many rows without a purchase to keep, and how many rows at most.
    draw : callable
        Chooses so many of some positions.
    of : Classes, optional
        How many rows the split has, where `rows` holds only those that can be drawn.

    Returns
    -------
    ndarray of shape (n_chosen,)
        Positions of the chosen rows, in order.
    ndarray of shape (n_chosen,)
        Their weights: 1 for converting rows, unless they alone are too many; the inverse of the sampling rate for the
        others.
    """
    of = of or Classes.of(label[rows])
    return _sample(rows, label, of.sample(settings), of, draw)


def sample_bounded(
    rows: Rows, label: Labels, max_rows: int, draw: Draw
) -> tuple[Rows, npt.NDArray[np.float32] | None]:  # fmt: skip
    """Keep all rows, or, where they are too many, the converting ones and a sample of the others.

    Parameters
    ----------
    rows : ndarray of int
        Positions of rows.
    label : ndarray of shape (n_rows,)
        Label of every row of the data set.
    max_rows : int
        How many rows at most.
    draw : callable
        Chooses so many of some positions.

    Returns
    -------
    ndarray of shape (n_chosen,)
        Positions of the chosen rows, in order.
    ndarray of shape (n_chosen,) or None
        Weights that undo the sampling; None where all rows are there.
    """
    if len(rows) <= max_rows:
        return rows, None
    of = Classes.of(label[rows])
    return _sample(rows, label, of.bounded(max_rows), of, draw)


def _sample(
    rows: Rows, label: Labels, wanted: Classes, of: Classes, draw: Draw
) -> tuple[Rows, npt.NDArray[np.float32]]:  # fmt: skip
    """Keep so many rows of each class, with weights that make all of them of these."""
    kept, left = rows[label[rows] == 1], rows[label[rows] == 0]
    if of.negatives > wanted.negatives:
        left = draw(left, wanted.negatives)
    if of.positives > wanted.positives:
        kept = draw(kept, wanted.positives)
    chosen = np.sort(np.concatenate([kept, left]))
    of_positive, of_negative = of.positives / max(1, len(kept)), of.negatives / max(1, len(left))
    return chosen, np.where(label[chosen] == 1, of_positive, of_negative).astype(np.float32)


def _embargo_begun_earlier(codes: Codes, data: Dataset) -> None:
    """Put rows of a session that began in an earlier split into the embargo, in place."""
    import pyarrow as pa

    # Only visitors with rows in several splits can have a session in several: few enough to look at their sessions.
    returned = np.zeros(int(data.visitor.max()) + 1, dtype=bool)
    returned[data.visitor[codes != _first(data.visitor, codes)]] = True
    rows = np.flatnonzero(returned[data.visitor])
    began = _first(to_codes(data.identity.column("session_id").take(pa.array(rows))), codes[rows])
    codes[rows[(data.is_mature[rows] == 1) & (codes[rows] != began)]] = SPLITS.index("embargo")


def _first(group: npt.NDArray[np.int32], codes: Codes) -> Codes:
    # Rows come in time order, so written backwards a group's earliest row is the last to say its code.
    first = np.empty(int(group.max(initial=0)) + 1, dtype=np.int8)
    first[group[::-1]] = codes[::-1]
    return first[group]


def check_conversions(found: Mapping[str, int], bounds: Bounds, settings: Split) -> None:
    """Refuse splits with too few converting rows to learn from or to evaluate by.

    Parameters
    ----------
    found : mapping of str to int
        Converting rows of each split that models use.
    bounds : Bounds
        The times between the splits.
    settings : Split
        Fewest converting rows.

    Raises
    ------
    FunneliftError
        When a split has fewer.
    """
    if min(found.values()) < settings.min_positives:
        counts = ", ".join(f"{name} {count}" for name, count in found.items())
        raise FunneliftError(
            f"gate enough data failed: each split needs {settings.min_positives} converting rows "
            f"(split.min_positives), found {counts} in {(bounds.ends_ms - bounds.starts_ms) / DAY_MS:.1f} days. "
            "Load a longer time or more visitors; fewer cannot carry a model or its intervals"
        )
