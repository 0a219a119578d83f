"""Draws that a row's own key decides: the same rows on every engine, in whatever order and parts they are read."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import numpy.typing as npt

from ml.arrays import Rows
from ml.data.features import NONE

if TYPE_CHECKING:
    import pyarrow as pa

    from ml.data.rows import Dataset

# So many texts are Python's own at a time.
TEXTS_AT_ONCE = 200_000
# Places are spread evenly from 0 to here.
PLACES = 2.0**64
Places = npt.NDArray[np.uint64]
Draw = Callable[[Rows, int], Rows]
"""Chooses so many of some positions."""


def visitors_within(visitor_id: "pa.ChunkedArray", share: float) -> npt.NDArray[np.bool_]:
    """Say which visitors belong to a share of all visitors there could be, by their ids alone.

    Parameters
    ----------
    visitor_id : pyarrow.ChunkedArray
        Ids.
    share : float
        From 0 to 1; a larger share holds all of a smaller one.

    Returns
    -------
    ndarray of shape (n_rows,)
        One answer per row.
    """
    if not 0 < share < 1:
        return np.full(len(visitor_id), share >= 1)
    return within(_places(visitor_id, None), share)


def within(places: Places, share: float) -> npt.NDArray[np.bool_]:
    """Say which places belong to the first share of all.

    Parameters
    ----------
    places : ndarray of shape (n_rows,)
        Places from 0 to 2^64.
    share : float
        From 0 to 1.

    Returns
    -------
    ndarray of shape (n_rows,)
        One answer per place.
    """
    return np.ones(len(places), dtype=bool) if share >= 1 else places < np.uint64(share * PLACES)


def row_places(session_id: "pa.ChunkedArray", decision_point: "pa.ChunkedArray", seed: int) -> Places:
    """Return each row's place among all rows there could be.

    Parameters
    ----------
    session_id, decision_point : pyarrow.ChunkedArray
        The row's key.
    seed : int
        Another seed gives other places.

    Returns
    -------
    ndarray of shape (n_rows,)
        Places from 0 to 2^64, by key and seed alone.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = pc.binary_join_element_wise(session_id.cast(pa.string()), decision_point.cast(pa.string()), "\x1f")
    return _places(keys, f"{seed % 10**16:016d}")


def visitor_numbers(visitor_id: "pa.ChunkedArray") -> npt.NDArray[np.uint32]:
    """Number visitors by a checksum of their ids.

    Parameters
    ----------
    visitor_id : pyarrow.ChunkedArray
        Ids.

    Returns
    -------
    ndarray of shape (n_rows,)
        CRC-32 of each row's id; of a million visitors about 230 share theirs with another.
    """
    import pyarrow.compute as pc

    numbers = []
    for chunk in visitor_id.chunks:
        coded = pc.fill_null(chunk, NONE).dictionary_encode()
        known = [crc32(text.encode()) for text in coded.dictionary.to_pylist()]
        numbers.append(np.array(known, dtype=np.uint32)[coded.indices.to_numpy()])
    return np.concatenate(numbers) if numbers else np.empty(0, dtype=np.uint32)


def some_visitors(data: "Dataset", rows: Rows, max_rows: int, of: int | None = None) -> Rows:
    """Keep rows of some visitors where there are too many rows.

    A visitor's id alone decides, and fewer rows or a lower bound take visitors away and bring none. So the sample is
    the same on every engine, and tomorrow's holds the visitors of today's that it has room for.

    Parameters
    ----------
    data : Dataset
        Rows.
    rows : ndarray of int
        Positions of some.
    max_rows : int
        How many of them to keep, or nearly so.
    of : int, optional
        How many rows there are, where `rows` holds only those that can be kept.

    Returns
    -------
    ndarray of int
        Those kept, all or none of each visitor's.
    """
    share = share_of(max_rows, len(rows) if of is None else of)
    if share >= 1:
        return rows
    import pyarrow as pa

    return rows[visitors_within(data.identity.column("visitor_id").take(pa.array(rows)), share)]


def share_of(wanted: float, of: int) -> float:
    """Return which share of so many rows is wanted, at most 1.

    Parameters
    ----------
    wanted : float
        Rows wanted.
    of : int
        Rows there are.

    Returns
    -------
    float
        The share; 1 where there are no rows.
    """
    return 1.0 if wanted >= of else wanted / of


def by_key(identity: "pa.Table", seed: int) -> Draw:
    """Draw rows by their keys: fewer rows to draw from, or fewer to draw, take rows away and bring none.

    Parameters
    ----------
    identity : pyarrow.Table
        Columns session_id and decision_point of all rows.
    seed : int
        Seed.

    Returns
    -------
    callable
        Takes positions and how many to draw; returns so many of them.
    """
    import pyarrow as pa

    def draw(rows: Rows, count: int) -> Rows:
        keys = identity.select(["session_id", "decision_point"]).take(pa.array(rows))
        places = row_places(keys.column("session_id"), keys.column("decision_point"), seed)
        return rows[np.argpartition(places, count - 1)[:count]] if count else rows[:0]

    return draw


def at_random(seed: int) -> Draw:
    """Draw positions, where rows have no keys.

    Parameters
    ----------
    seed : int
        Seed.

    Returns
    -------
    callable
        Takes positions and how many to draw; returns so many of them.
    """
    generator = np.random.default_rng(seed)
    return lambda rows, count: generator.choice(rows, count, replace=False)


def _places(texts: "pa.ChunkedArray", key: str | None) -> Places:
    import pandas as pd

    places = np.empty(len(texts), dtype=np.uint64)
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = texts.slice(start, TEXTS_AT_ONCE).to_numpy(zero_copy_only=False)
        hashed = pd.util.hash_array(some, categorize=False, **({} if key is None else {"hash_key": key}))
        places[start : start + len(some)] = hashed
    return places
