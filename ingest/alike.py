"""What the texts of a column have in common: where all are alike, they need no look at each."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_COMPARED_BYTES = 1 << 17
_ZERO = ord("0")
_IN_NUMBERS = np.isin(np.arange(256), list(b"0123456789.+"))


def shape(column: pa.ChunkedArray) -> str | None:
    """Tell whether the texts differ in nothing but digits.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        Texts in ASCII.

    Returns
    -------
    str or None
        The first text. All others are as long, have digits where it has digits, and are the same elsewhere. None
        where they are not, or where there is none.
    """
    first = b""
    for ends, characters in _texts(column):
        length = int(ends[1] - ends[0])
        first = first or characters[:length].tobytes()
        if not first or len(first) != length or (np.diff(ends) != length).any():
            return None
        one = np.frombuffer(first, np.uint8)
        is_digit = (one >= _ZERO) & (one < _ZERO + 10)
        # Below the lowest character of a place the difference of two unsigned numbers is large too.
        times = max(_COMPARED_BYTES // length, 1)
        lowest = np.tile(np.where(is_digit, _ZERO, one).astype(np.uint8), times)
        room = np.tile(np.where(is_digit, 9, 0).astype(np.uint8), times)
        for start in range(0, len(characters), len(lowest)):
            part = characters[start : start + len(lowest)]
            if (part - lowest[: len(part)] > room[: len(part)]).any():
                return None
    return first.decode() or None


def has_bare_numbers(column: pa.ChunkedArray) -> bool:
    """Tell whether digits, points and plus signs are all that the texts hold; a text may be blank."""
    return all(_IN_NUMBERS[characters].all() for _, characters in _texts(column))


def _texts(column: pa.ChunkedArray) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]]:
    """Of each part of a column that has no nulls: where its texts begin and end, and their characters."""
    for part in column.chunks:
        if not len(part):
            continue
        _, offsets, characters = part.buffers()
        ends = np.frombuffer(offsets, np.int32)[part.offset : part.offset + len(part) + 1]
        held = np.frombuffer(characters, np.uint8) if characters else np.empty(0, np.uint8)
        yield ends, held[ends[0] : ends[-1]]
