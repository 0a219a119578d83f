"""The durable log: JSON lines that are on the disk before anybody is answered, in a folder that `ingest load` reads.

raw/events-….jsonl         events, as the mapping live/mapping.yml has them
raw/assignments-….jsonl    arms of visitors who could be shown something
raw/….jsonl.open           what is being written; it becomes a `.jsonl` when it is closed
decisions/….jsonl          what was decided, for restarts and for people
"""

import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from warehouse.errors import FunneliftError

EVENTS, ASSIGNMENTS, DECISIONS = "events", "assignments", "decisions"
FOLDERS = {EVENTS: "raw", ASSIGNMENTS: "raw", DECISIONS: "decisions"}
CLOSED, OPEN = ".jsonl", ".jsonl.open"

Line = dict[str, Any]


@dataclass(eq=False)
class _File:
    """A file that is being written."""

    path: Path
    stream: IO[bytes]
    opened_at: datetime


@dataclass
class Log:
    """The log of one instance, which has its folder for itself.

    Parameters
    ----------
    folder : Path
        Where the files are.
    close_minutes : int
        After how long a file is closed, so that it can be loaded.
    """

    folder: Path
    close_minutes: int = 60
    _files: dict[str, _File] = field(default_factory=dict)
    _lock: IO[bytes] | None = None

    def open(self) -> None:
        """Take the folder, and close what an earlier run left open: a line that is not whole was never answered.

        Raises
        ------
        FunneliftError
            When another instance writes there.
        """
        for name in set(FOLDERS.values()):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FunneliftError(f"{self.folder}: another instance writes its log there: give this one --log") from None
        for path in sorted(self.folder.glob(f"*/*{OPEN}")):
            _cut_torn_line(path)
            _close(path)

    def read(self, kind: str) -> Iterator[Line]:
        """Yield all lines of a kind, the oldest file first."""
        for path in sorted((self.folder / FOLDERS[kind]).glob(f"{kind}-*{CLOSED}")):
            with path.open("rb") as stream:
                for line in stream:
                    yield json.loads(line)

    def write(self, lines: Mapping[str, Sequence[Line]]) -> None:
        """Append lines of some kinds; when this returns they are on the disk."""
        files = {self._file(kind): found for kind, found in lines.items() if found}
        for file, found in files.items():
            file.stream.write(b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in found))
            file.stream.flush()
        # The first of these often carries the others along, where they are written.
        for file in files:
            os.fsync(file.stream.fileno())

    def close_old(self, now: datetime) -> None:
        """Close files that have been open for long enough."""
        for kind, file in list(self._files.items()):
            if (now - file.opened_at).total_seconds() >= self.close_minutes * 60:
                self._end(kind)

    def close(self) -> None:
        """Close all files and let the folder go."""
        for kind in list(self._files):
            self._end(kind)
        if self._lock is not None:
            self._lock.close()

    def _file(self, kind: str) -> _File:
        file = self._files.get(kind)
        if file is None:
            now = datetime.now(UTC)
            name = f"{kind}-{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}{OPEN}"
            path = self.folder / FOLDERS[kind] / name
            file = self._files[kind] = _File(path, path.open("xb"), now)
            _sync_folder(path.parent)
        return file

    def _end(self, kind: str) -> None:
        file = self._files.pop(kind)
        file.stream.close()
        _close(file.path)


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as stream:
            stream.truncate(whole)
            os.fsync(stream.fileno())


def _close(path: Path) -> None:
    if not path.stat().st_size:
        path.unlink()
        return
    path.rename(path.with_name(path.name.removesuffix(OPEN) + CLOSED))
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
