"""Slices in time: train | embargo | calibration | embargo | test, and the sample that trains."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.config import Sampling, Split
from ml.data.rows import Dataset, to_codes
from warehouse.errors import FunneliftError

SLICES = ("train", "calibration", "test")
NAMES = ("train", "calibration", "test", "embargo", "open")


@dataclass(frozen=True)
class Slices:
    """The slice of every row, as a position in `NAMES`, and the times that part them (epoch ms)."""

    codes: npt.NDArray[np.int8]
    starts_ms: int
    calibration_ms: int
    test_ms: int
    ends_ms: int
    embargo_ms: int

    def rows(self, name: str) -> npt.NDArray[np.intp]:
        """Return the positions of a slice's rows."""
        return np.flatnonzero(self.codes == NAMES.index(name))


def split_by_time(data: Dataset, settings: Split) -> Slices:
    """Part the rows by decision time, so that a model is judged on what came after what it learnt from.

    The boundaries lie at shares of the time span of the closed sessions' rows. The embargo follows each boundary:
    rows at or after it and less than `embargo_seconds` later are in no slice. Nor are rows of a session that began in
    an earlier slice, however long it lasted. Rows of sessions still open are only scored.

    Parameters
    ----------
    data : Dataset
        Rows ordered by time.
    settings : Split
        Shares and embargo.

    Returns
    -------
    Slices
        One slice a row.

    Raises
    ------
    FunneliftError
        When a slice has too few converting rows to learn from or to judge by.
    """
    mature = data.is_mature == 1
    codes = np.full(len(data), NAMES.index("open"), dtype=np.int8)
    times = data.decided_ms
    closed = times[mature]
    first, last = (int(closed.min()), int(closed.max())) if len(closed) else (0, 0)
    calibration_from = first + round((last - first) * settings.train_share)
    test_from = first + round((last - first) * (settings.train_share + settings.calibration_share))
    embargo = settings.embargo_seconds * 1000

    codes[mature] = NAMES.index("embargo")
    codes[mature & (times < calibration_from)] = NAMES.index("train")
    codes[mature & (times >= calibration_from + embargo) & (times < test_from)] = NAMES.index("calibration")
    codes[mature & (times >= test_from + embargo)] = NAMES.index("test")

    # Only visitors with rows in several slices can have a session in several: few enough to look at their sessions.
    returned = np.zeros(int(data.visitor.max()) + 1, dtype=bool)
    returned[data.visitor[codes != _first(data.visitor, codes)]] = True
    rows = np.flatnonzero(returned[data.visitor])
    began = _first(to_codes(data.identity.column("session_id").take(pa.array(rows))), codes[rows])
    codes[rows[mature[rows] & (codes[rows] != began)]] = NAMES.index("embargo")

    slices = Slices(codes, first, calibration_from, test_from, last, embargo)
    found = {name: int(data.label[slices.rows(name)].sum()) for name in SLICES}
    if min(found.values()) < settings.min_positives:
        counts = ", ".join(f"{name} {count}" for name, count in found.items())
        raise FunneliftError(
            f"gate enough data failed: each slice needs {settings.min_positives} converting rows "
            f"(split.min_positives), found {counts} in {(last - first) / 86_400_000:.1f} days. "
            "Load a longer time or more visitors; fewer cannot carry a model or its intervals"
        )
    return slices


def sample_negatives(
    rows: npt.NDArray[np.intp], label: npt.NDArray[np.int8], settings: Sampling, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Keep all converting rows and a sample of the others, with the weights that undo the sampling.

    Parameters
    ----------
    rows : array of int
        Positions of the training slice's rows.
    label : array of int
        Label of every row of the data set.
    settings : Sampling
        How many rows without a purchase to keep.
    seed : int
        Seed of the draw.

    Returns
    -------
    array of int
        Positions of the chosen rows, in order.
    array of float
        Their weights: 1 for converting rows, the inverse of the sampling rate for the others.
    """
    positive, negative = rows[label[rows] == 1], rows[label[rows] == 0]
    wanted = max(settings.min_negatives, round(settings.negatives_per_positive * len(positive)))
    kept = negative
    if len(negative) > wanted:
        kept = np.random.default_rng(seed).choice(negative, wanted, replace=False)
    chosen = np.sort(np.concatenate([positive, kept]))
    weights = np.where(label[chosen] == 1, 1.0, len(negative) / max(1, len(kept))).astype(np.float32)
    return chosen, weights


def _first(group: npt.NDArray[np.int32], codes: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    # Rows come in time order, so written backwards a group's earliest row is the last to say its code.
    first = np.empty(int(group.max(initial=0)) + 1, dtype=np.int8)
    first[group[::-1]] = codes[::-1]
    return first[group]
