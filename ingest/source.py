"""One input file: its format, its columns and its content."""

import codecs
import csv
import gzip
import hashlib
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import FunneliftError

CHUNK_BYTES = 16 << 20
HEAD_BYTES = 1 << 20


Packing = Literal["", "gzip", "zstd", "zip"]
_MAGIC: dict[bytes, Packing] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_SUFFIXES: dict[str, Packing] = {".gz": "gzip", ".zst": "zstd", ".zip": "zip"}
# Deflate makes no byte of more than this many.
MAX_DEFLATION = 1032
# Excel's own first line, which says the delimiter of the others.
_SEPARATOR = re.compile(rb'"?sep=([^"\r\n])"? *\r*\n', re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written; without a quote, which is then blank, quotation marks are characters as any other."""

    delimiter: str = ","
    quote: str = '"'
    has_header: bool = True


@dataclass(frozen=True)
class Source:
    """One input file; `head` is a CSV's first line, `keys` the columns of a JSONL or Parquet file.

    `separator` is the delimiter that a line `sep=;` before all others says; blank where there is none.
    """

    path: Path
    format: Literal["csv", "jsonl", "parquet"]
    packing: Packing
    size: int
    modified_ns: int
    head: str = ""
    keys: tuple[str, ...] = ()
    encoding: str = "utf-8"
    separator: str = ""

    @property
    def largest_unpacking(self) -> int | None:
        """The most bytes that a byte of the file can become; None where nothing is known of it."""
        return {"": 1, "gzip": MAX_DEFLATION, "zip": MAX_DEFLATION}.get(self.packing)

    def has_changed(self) -> bool:
        """Whether the file is no longer the one that was inspected."""
        now = self.path.stat()
        return (now.st_size, now.st_mtime_ns) != (self.size, self.modified_ns)

    def header(self, delimiter: str, quote: str = '"') -> list[str]:
        """Split the header.

        Parameters
        ----------
        delimiter : str
            Field delimiter of a CSV file; other formats know their columns.
        quote : str
            Quote of a CSV file; blank for none.

        Returns
        -------
        list of str
            Column names, spaces around them dropped.
        """
        names = split_line(self.head, delimiter, quote) if self.format == "csv" else self.keys
        return [name.strip() for name in names]


def split_line(line: str, delimiter: str, quote: str) -> list[str]:
    """Split the first line of a CSV file into its fields; raises FunneliftError where that is no line of CSV."""
    try:
        return next(csv.reader([line], delimiter=delimiter, quotechar=quote), []) if quote else line.split(delimiter)
    except csv.Error as error:
        raise FunneliftError(f"its first line cannot be split into fields: {error}") from error


def inspect(path: Path, encoding: str = "utf-8") -> Source:
    """Look at the beginning of a file: what format it has and which columns.

    Parameters
    ----------
    path : Path
        CSV or JSON lines (plain, gzip, zstd or zip) or Parquet; recognised by content, not by name.
    encoding : str
        Of text.

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
        if not stat.S_ISREG(status.st_mode):
            raise FunneliftError(f"{path}: not a file but a pipe, device or socket; write it into a file first")
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise FunneliftError(f"{path}: cannot be read: {error.strerror}") from error
    size, modified = status.st_size, status.st_mtime_ns
    if size == 0:
        raise FunneliftError(f"{path}: the file is empty (0 bytes)")
    if magic == b"PAR1":
        return Source(path, "parquet", "", size, modified, keys=tuple(open_parquet(path).schema_arrow.names))
    packing: Packing = next((name for start, name in _MAGIC.items() if magic.startswith(start)), "")
    if (named := _SUFFIXES.get(path.suffix.lower(), packing)) != packing:
        raise FunneliftError(f"{path}: named {path.suffix} but not a {named} file")
    packed = Source(path, "csv", packing, size, modified, encoding=encoding)
    head = next(unpacked_chunks(packed, HEAD_BYTES), (b"", 0))[0]
    is_whole = len(head) < HEAD_BYTES
    # Without a mark at its beginning, UTF-16 shows itself by a zero beside its first letter.
    if encoding == "utf-8" and (head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head[:2]):
        raise FunneliftError(
            f"{path}: encoded in UTF-16; save it as UTF-8, or say encoding: utf-16 in a mapping file "
            "(utf-16-le or utf-16-be where it begins without a byte order mark)"
        )
    head = next(_decoded(iter([(head, 0)]), packed))[0].removeprefix(codecs.BOM_UTF8)
    if not head.strip():
        raise FunneliftError(f"{path}: the file is empty: no header, no lines")
    if head.lstrip()[:1] == b"[":
        raise FunneliftError(f"{path}: a JSON array; write one JSON object a line (JSONL)")
    if head.lstrip()[:1] == b"{":
        return replace(packed, format="jsonl", keys=_json_keys(path, head, is_whole))
    if b"\n" not in head and b"\r" in head:
        raise FunneliftError(f"{path}: its lines end in CR alone, as those of old Macs; write LF or CR LF")
    if b"\n" not in head and not is_whole:
        raise FunneliftError(f"{path}: no line end in the first {HEAD_BYTES:,} bytes; not a text file with a header")
    if said := _SEPARATOR.match(head):
        packed, head = replace(packed, separator=said[1].decode()), head[said.end() :]
    try:
        first_line = head.split(b"\n", 1)[0].rstrip(b"\r").decode()
    except UnicodeDecodeError as error:
        raise FunneliftError(
            f"{path}: the header is not {'UTF-8' if encoding == 'utf-8' else encoding} text ({error.reason} at byte "
            f"{error.start}); say encoding in a mapping file"
        ) from error
    return replace(packed, head=first_line)


def content_hash(source: Source, advance: Callable[[int], None] = lambda position: None) -> str:
    """Hash what a file says; packed or not makes no difference.

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


def nested_columns(source: Source) -> set[int]:
    """Tell which columns of a Parquet file hold objects or lists; positions, 0-based."""
    schema: Any = open_parquet(source.path).schema_arrow
    return {place for place, field in enumerate(schema) if pa.types.is_nested(field.type)}


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file; raises FunneliftError where it is not one."""
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise FunneliftError(f"{path}: not a readable Parquet file: {error}") from error


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
            stream = _unpacked(source, file)
            while chunk := stream.read(size):
                yield chunk, file.tell()
    except EOFError as error:
        raise FunneliftError(
            f"{source.path}: the {source.packing} file ends early; it was not copied or written to its end"
        ) from error
    except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        # A zip file with a password, or packed in a way that Python does not know, is a RuntimeError.
        raise FunneliftError(f"{source.path}: the {source.packing} file is damaged or locked: {error}") from error
    except OSError as error:
        if source.packing == "zstd":  # Arrow has one error for all that can be wrong
            raise FunneliftError(f"{source.path}: the zstd file is damaged or ends early: {error}") from error
        raise FunneliftError(f"{source.path}: cannot be read: {error.strerror or error}") from error


def _unpacked(source: Source, file: IO[bytes]) -> IO[bytes]:
    if source.packing == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if source.packing == "zstd":
        return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"))
    if source.packing == "zip":
        archive = zipfile.ZipFile(file)
        members = [
            each for each in archive.infolist() if not each.is_dir() and not each.filename.startswith("__MACOSX")
        ]
        if len(members) != 1:
            names = ", ".join(each.filename for each in members[:10]) or "nothing"
            raise FunneliftError(f"{source.path}: a zip of one file can be read, found {names}; unpack it first")
        return archive.open(members[0])
    return file


def text_chunks(source: Source, size: int) -> Iterator[tuple[bytes, int]]:
    """Read a file's text as UTF-8; see `unpacked_chunks`.

    A byte that is no character of the file's encoding stays as it is, so that it can be rejected with its line.
    """
    return _decoded(unpacked_chunks(source, size), source)


def _decoded(chunks: Iterator[tuple[bytes, int]], source: Source) -> Iterator[tuple[bytes, int]]:
    if source.encoding == "utf-8":
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(source.encoding)("surrogateescape")
    position = 0
    try:
        for chunk, position in chunks:
            yield decoder.decode(chunk).encode("utf-8", "surrogateescape"), position
        yield decoder.decode(b"", True).encode("utf-8", "surrogateescape"), position
    except UnicodeError as error:
        raise FunneliftError(f"{source.path}: not {source.encoding} text: {error}") from error


def _json_keys(path: Path, head: bytes, is_whole: bool) -> tuple[str, ...]:
    """The union over the first lines: JSON often leaves out a key that has no value."""
    keys: dict[str, None] = {}
    for line in head.splitlines() if is_whole else head.splitlines()[:-1]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            keys.update(dict.fromkeys(record))
    if not keys:
        raise FunneliftError(
            f"{path}: begins like JSON, but no line of its first {HEAD_BYTES:,} bytes is a JSON object"
        )
    return tuple(keys)
