"""A large table whose rows are found by a number, without an index beside it."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa


class Slices:
    """Rows in the order of a key, and within one key of time; a key's rows are one slice.

    Parameters
    ----------
    rows : pyarrow.Table
        The rows, in any order.
    key : ndarray of shape (n_rows,)
        Key of each row.
    ms : ndarray of shape (n_rows,)
        Time of each row, epoch milliseconds.
    """

    def __init__(self, rows: "pa.Table", key: npt.NDArray[np.integer[Any]], ms: npt.NDArray[np.int64]) -> None:
        import pyarrow as pa

        order = np.lexsort((ms, key))
        self._rows = rows.take(pa.array(order)).combine_chunks()
        self._key, self._ms = key[order], ms[order]

    def of(self, key: int | np.integer[Any], from_ms: int | None = None, to_ms: int | None = None) -> "pa.Table":
        """The rows of a key, from one moment up to before another.

        Parameters
        ----------
        key : int
            The key.
        from_ms, to_ms : int, optional
            Moments, epoch milliseconds.

        Returns
        -------
        pyarrow.Table
            A view of the rows.
        """
        start = int(np.searchsorted(self._key, key, "left"))
        end = int(np.searchsorted(self._key, key, "right"))
        if from_ms is not None:
            start += int(np.searchsorted(self._ms[start:end], from_ms, "left"))
        if to_ms is not None and end > start:
            end = start + int(np.searchsorted(self._ms[start:end], to_ms, "left"))
        return self._rows.slice(start, max(end - start, 0))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self._rows.column_names)

    def some(self, column: str, most: int) -> list[Any]:
        """Values of a column, of rows that stand far apart."""
        step = max(1, len(self._key) // most)
        return list(self._rows[column].take(np.arange(0, len(self._key), step)[:most]).to_pylist())

    def rows(self, key: int | np.integer[Any]) -> list[tuple[Any, ...]]:
        """The rows of a key, each with the values of all columns."""
        return tuples(self.of(key))


def tuples(rows: "pa.Table") -> list[tuple[Any, ...]]:
    """Rows of a table one by one."""
    return list(zip(*(column.to_pylist() for column in rows.columns), strict=True)) if len(rows) else []
