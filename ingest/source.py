"""One input file: its format, its columns and its content."""

import codecs
import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import FunneliftError

CHUNK_BYTES = 16 << 20
HEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """One input file; `head` is a CSV's first line, `keys` the columns of a JSONL or Parquet file."""

    path: Path
    format: Literal["csv", "jsonl", "parquet"]
    is_gzip: bool
    size: int
    modified_ns: int
    head: str
    keys: tuple[str, ...]

    def has_changed(self) -> bool:
        """Whether the file is no longer the one that was inspected."""
        now = self.path.stat()
        return (now.st_size, now.st_mtime_ns) != (self.size, self.modified_ns)

    def header(self, delimiter: str) -> list[str]:
        """Split the header.

        Parameters
        ----------
        delimiter : str
            Field delimiter of a CSV file; other formats know their columns.

        Returns
        -------
        list of str
            Column names, spaces around them dropped.
        """
        names = next(csv.reader([self.head], delimiter=delimiter), []) if self.format == "csv" else self.keys
        return [name.strip() for name in names]


def inspect(path: Path) -> Source:
    """Look at the beginning of a file: what format it has and which columns.

    Parameters
    ----------
    path : Path
        CSV or JSON lines (plain or gzip) or Parquet; recognised by content, not by name.

    Returns
    -------
    Source
        The file, ready to be read.

    Raises
    ------
    FunneliftError
        The file cannot be read, is empty, damaged or in no known format.
    """
    try:
        status = path.stat()
        size, modified = status.st_size, status.st_mtime_ns
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise FunneliftError(f"{path}: cannot be read: {error.strerror}") from error
    if size == 0:
        raise FunneliftError(f"{path}: the file is empty (0 bytes)")
    if magic == b"PAR1":
        return Source(path, "parquet", False, size, modified, "", tuple(open_parquet(path).schema_arrow.names))
    is_gzip = magic[:2] == b"\x1f\x8b"
    if path.suffix == ".gz" and not is_gzip:
        raise FunneliftError(f"{path}: named .gz but not a gzip file")
    head, is_whole = _head(path, is_gzip)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FunneliftError(f"{path}: encoded in UTF-16; save it as UTF-8")
    head = head.removeprefix(codecs.BOM_UTF8)
    if not head.strip():
        raise FunneliftError(f"{path}: the file is empty: no header, no lines")
    if head.lstrip()[:1] == b"[":
        raise FunneliftError(f"{path}: a JSON array; write one JSON object a line (JSONL)")
    if head.lstrip()[:1] == b"{":
        return Source(path, "jsonl", is_gzip, size, modified, "", _json_keys(path, head, is_whole))
    if b"\n" not in head and not is_whole:
        raise FunneliftError(f"{path}: no line end in the first {HEAD_BYTES:,} bytes; not a text file with a header")
    try:
        first_line = head.split(b"\n", 1)[0].rstrip(b"\r").decode()
    except UnicodeDecodeError as error:
        raise FunneliftError(f"{path}: the header is not UTF-8 text ({error.reason} at byte {error.start})") from error
    return Source(path, "csv", is_gzip, size, modified, first_line, ())


def content_hash(source: Source, advance: Callable[[int], None] = lambda position: None) -> str:
    """Hash what a file says; gzip or not makes no difference.

    Parameters
    ----------
    source : Source
        The file.
    advance : callable
        Told now and then how many bytes of the file have been read.

    Returns
    -------
    str
        SHA-256 of the unpacked content, hexadecimal.

    Raises
    ------
    FunneliftError
        The file is damaged or ends early.
    """
    digest = hashlib.sha256()
    for chunk, position in unpacked_chunks(source, CHUNK_BYTES):
        digest.update(chunk)
        advance(position)
    return digest.hexdigest()


def is_typed_time(source: Source, position: int) -> bool:
    """Tell whether a column carries its own time type, so that no text format applies.

    Parameters
    ----------
    source : Source
        The file.
    position : int
        Column, 0-based.

    Returns
    -------
    bool
        True for a Parquet timestamp column.
    """
    if source.format != "parquet":
        return False
    kind: Any = open_parquet(source.path).schema_arrow.field(position).type
    return bool(pa.types.is_timestamp(kind))


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file; raises FunneliftError where it is not one."""
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise FunneliftError(f"{path}: not a readable Parquet file: {error}") from error


def _head(path: Path, is_gzip: bool) -> tuple[bytes, bool]:
    head = next(unpacked_chunks(Source(path, "csv", is_gzip, 0, 0, "", ()), HEAD_BYTES), (b"", 0))[0]
    return head, len(head) < HEAD_BYTES


def unpacked_chunks(source: Source, size: int) -> Iterator[tuple[bytes, int]]:
    """Read a file's bytes, unpacked.

    Parameters
    ----------
    source : Source
        The file.
    size : int
        Bytes of a chunk.

    Yields
    ------
    bytes
        The next chunk.
    int
        How far into the file, as it lies on disk, that reaches.

    Raises
    ------
    FunneliftError
        The file is damaged or ends early.
    """
    try:
        with source.path.open("rb") as file:
            stream = gzip.GzipFile(fileobj=file) if source.is_gzip else file
            while chunk := stream.read(size):
                yield chunk, file.tell()
    except EOFError as error:
        raise FunneliftError(
            f"{source.path}: the gzip file ends early; it was not copied or written to its end"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FunneliftError(f"{source.path}: the gzip file is damaged: {error}") from error
    except OSError as error:
        raise FunneliftError(f"{source.path}: cannot be read: {error}") from error


def _json_keys(path: Path, head: bytes, is_whole: bool) -> tuple[str, ...]:
    """The union over the first lines: JSON often leaves out a key that has no value."""
    keys: dict[str, None] = {}
    for line in head.splitlines() if is_whole else head.splitlines()[:-1]:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            keys.update(dict.fromkeys(record))
    if not keys:
        raise FunneliftError(
            f"{path}: begins like JSON, but no line of its first {HEAD_BYTES:,} bytes is a JSON object"
        )
    return tuple(keys)
