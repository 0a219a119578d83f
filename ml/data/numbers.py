"""The numeric features of all rows: in memory, or in a file of which only what is looked at is in memory."""

import mmap
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from warehouse.errors import FunneliftError


class Numbers:
    """One row of float32 numbers per feature. In a file they have no name, so a run that dies leaves nothing.

    Parameters
    ----------
    features, rows : int
        Shape of the numbers.
    folder : Path, optional
        Where the file is; in memory without it.

    Attributes
    ----------
    values : ndarray of shape (n_features, n_rows)
        The numbers, to be written and read.

    Raises
    ------
    FunneliftError
        When the disk has no room.
    """

    def __init__(self, features: int, rows: int, folder: Path | None = None) -> None:
        self.is_on_disk = folder is not None and features * rows > 0
        self._map: mmap.mmap | None = None
        if not self.is_on_disk:
            self.values: npt.NDArray[np.float32] = np.empty((features, rows), dtype=np.float32)
            return
        size = features * rows * np.dtype(np.float32).itemsize
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                # The room is taken now: a disk that is full later would end the process without a word.
                if sys.platform == "linux":
                    os.posix_fallocate(file.fileno(), 0, size)
                file.truncate(size)
                self._map = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise FunneliftError(
                f"cannot keep the features of {rows:,} rows ({size / 1e9:.1f} GB) in a file in {folder}: "
                f"{error.strerror}. Make room there, name another folder (--results), or raise rows_in_memory"
            ) from None
        self.values = np.frombuffer(self._map, dtype=np.float32).reshape(features, rows)

    def let_go(self) -> None:
        """Take the numbers out of this process's memory; the file keeps them, and they come back when looked at."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)
