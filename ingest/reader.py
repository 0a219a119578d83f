"""Files to records: every record with its line number and its text, in blocks of bounded size."""

import codecs
import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from ingest.source import CHUNK_BYTES, Dialect, Source, open_parquet, text_chunks
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import _csv

MAX_LINE_BYTES = 64 << 20
# A quoted field that is still open after this many lines was never meant to span them: somebody forgot a quote.
MAX_RECORD_LINES = 1000
# Small enough that both the reader of a block and its checks can use every core.
BATCH_ROWS = 32768

# A file of line ends alone has a record a byte.
MAX_BLOCK_LINES = 1 << 19

# So that a block is split by all cores.
_SPLIT_BYTES = 1 << 20

# What stays in a core's cache between one look at it and the next.
_CACHED_BYTES = 1 << 17

_NEWLINE, _NUL, _SPACE, _MINUS = 10, 0, ord(" "), ord("-")
_LINE_ENDS = re.compile(rb"(?<!\r)\r++\n")
_FIELDS = pa.list_(pa.string())


@dataclass(frozen=True)
class Block:
    """Some consecutive records of one file.

    `table` has `line` and, where `is_split`, one column `c0`, `c1`, … for each column of the file that is needed: of
    Parquet, and of lines of which each is a record of CSV as it stands. Other text has `raw`, `fields` (set where
    splitting at the delimiter would be wrong) and `problem` (a reject reason the reader found). `origin` is the
    records themselves. `is_plain` says that no cell is quoted, begins with a minus or has a blank to trim.
    """

    table: pa.Table
    origin: pa.Array | bytes
    position: int
    unterminated_line: int = -1
    is_split: bool = False
    is_plain: bool = False

    def raw_text(self, lines: list[int]) -> list[str]:
        """Give records as text, to be kept with a reject.

        Parameters
        ----------
        lines : list of int
            Line numbers of records of this block.

        Returns
        -------
        list of str
            The lines themselves; a Parquet row as JSON.
        """
        rows = np.searchsorted(self.table["line"].to_numpy(), lines)
        if isinstance(self.origin, bytes):
            ends = np.flatnonzero(np.frombuffer(self.origin, np.uint8) == _NEWLINE)
            starts = np.concatenate(([0], ends[:-1] + 1))
            return [self.origin[starts[row] : ends[row]].decode() for row in rows.tolist()]
        texts = self.origin.take(pa.array(rows)).to_pylist()
        return [text if isinstance(text, str) else json.dumps(text, default=str, ensure_ascii=False) for text in texts]


def blocks(source: Source, dialect: Dialect, width: int, needed: set[int]) -> Iterator[Block]:
    """Read a file.

    Parameters
    ----------
    source : Source
        The file.
    dialect : Dialect
        How a CSV file is written.
    width : int
        Number of columns of a CSV file.
    needed : set of int
        Columns (0-based) whose values matter.

    Yields
    ------
    Block
        The records in file order.

    Raises
    ------
    FunneliftError
        The file is damaged, ends early, or a line is too long to be one.
    """
    if source.format == "parquet":
        return _parquet_blocks(source, needed)
    splitter = _Splitter(dialect, width, needed) if source.format == "csv" else None
    return _text_blocks(source, dialect if source.format == "csv" else None, width, splitter)


def _text_blocks(source: Source, dialect: Dialect | None, width: int, splitter: "_Splitter | None") -> Iterator[Block]:
    rest, line, position = b"", 1, 0
    is_start, heading = True, (dialect is not None and dialect.has_header) + bool(source.separator)
    for chunk, position in text_chunks(source, CHUNK_BYTES):
        data = rest + chunk
        if is_start:
            data, is_start = data.removeprefix(codecs.BOM_UTF8), False
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > MAX_LINE_BYTES:
            raise FunneliftError(
                f"{source.path}:{line}: a line of more than {MAX_LINE_BYTES:,} bytes; not a text file?"
            )
        complete, rest = data[:cut], data[cut:]
        while heading and complete:
            complete, line, heading = complete[complete.index(b"\n") + 1 :], line + 1, heading - 1
        open_record = b""
        for part, count in _parts(complete):
            if splitter and not open_record and (split := splitter.block(part, count, line, position)):
                line += count
                yield split
                continue
            records = _Records(open_record + part, line, dialect, width, is_last=False)
            line, open_record = line + records.line_count, records.open_record
            if records.line_count:
                yield records.block(position)
        rest = open_record + rest
    if rest and not heading:
        is_terminated = rest.endswith(b"\n")
        records = _Records(rest if is_terminated else rest + b"\n", line, dialect, width, is_last=True)
        yield records.block(position, -1 if is_terminated else line + records.line_count - 1)


def _parts(complete: bytes) -> Iterator[tuple[bytes, int]]:
    """Whole lines in parts of so many that checking them takes bounded memory, and how many they are."""
    is_end = np.frombuffer(complete, np.uint8) == _NEWLINE
    count = int(np.count_nonzero(is_end))
    if count <= MAX_BLOCK_LINES:
        yield complete, count
        return
    ends = np.flatnonzero(is_end)[MAX_BLOCK_LINES - 1 :: MAX_BLOCK_LINES] + 1
    start = 0
    for end in [*ends.tolist(), len(complete)]:
        if end > start:
            yield complete[start:end], min(count, MAX_BLOCK_LINES)
        start, count = end, count - MAX_BLOCK_LINES


class _Splitter:
    """Lines of a CSV file to columns, by Arrow's reader, where each line is a record as it stands."""

    def __init__(self, dialect: Dialect, width: int, needed: set[int]) -> None:
        self._quote, self._delimiter = dialect.quote.encode(), dialect.delimiter.encode()
        # Arrow takes one byte; of a single column it cannot tell an empty line.
        self._is_able = width > 1 and dialect.delimiter.isascii()
        if self._is_able:
            names = [f"c{place}" for place in range(width)]
            self._read = pa_csv.ReadOptions(column_names=names, block_size=_SPLIT_BYTES)
            self._plain, self._quoted = (
                pa_csv.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char=quote or False,
                    double_quote=bool(quote),
                    ignore_empty_lines=False,
                )
                for quote in ("", dialect.quote)
            )
            self._convert = pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=[names[place] for place in sorted(needed)],
                check_utf8=False,
                null_values=[],
            )

    def block(self, data: bytes, count: int, first_line: int, position: int) -> Block | None:
        """The records of so many whole lines; None where one of them needs a closer look."""
        if not self._is_able or not data:
            return None
        data = _plain_ends(data)
        # Arrow makes a record of an empty line, and a line end of a CR.
        if data.startswith((b"\n", codecs.BOM_UTF8)) or b"\r" in data or b"\0" in data:
            return None
        has_empty_line, is_bare = _neighbours(data, self._delimiter)
        if has_empty_line:
            return None
        if not _is_utf8(data):
            return None
        parse = self._plain
        if self._quote and self._quote in data:
            if not self._is_quoted_well(np.frombuffer(data, np.uint8)):
                return None
            parse = self._quoted
        try:
            columns = pa_csv.read_csv(pa.BufferReader(data), self._read, parse, self._convert)
        except pa.ArrowInvalid:
            return None
        if columns.num_rows != count:
            return None
        lines = pa.chunked_array([np.arange(first_line, first_line + count)])
        is_plain = parse is self._plain and is_bare and data.isascii()
        return Block(columns.add_column(0, "line", lines), data, position, is_split=True, is_plain=is_plain)

    def _is_quoted_well(self, data: npt.NDArray[np.uint8]) -> bool:
        """Whether quotes enclose whole fields, and no line end: then there is one way to read them."""
        quotes = np.flatnonzero(data == ord(self._quote))
        if len(quotes) % 2:
            return False
        opening, closing = quotes[::2], quotes[1::2]
        # Two quotes one after the other are one inside a field.
        is_doubled = closing[:-1] + 1 == opening[1:]
        before, after = data[opening - 1], data[closing + 1]
        starts = (opening == 0) | (before == _NEWLINE) | (before == ord(self._delimiter))
        ends = (after == _NEWLINE) | (after == ord(self._delimiter))
        starts[1:] |= is_doubled
        ends[:-1] |= is_doubled
        if not (starts.all() and ends.all()):
            return False
        lines = np.flatnonzero(data == _NEWLINE)
        return bool((np.searchsorted(lines, opening) == np.searchsorted(lines, closing)).all())


def _neighbours(data: bytes, delimiter: bytes) -> tuple[bool, bool]:
    """Whether a line is empty, and whether no cell begins with a blank or a minus or ends with a blank.

    Looking for each pair of bytes in a search of its own takes ten times as long.
    """
    characters = np.frombuffer(data, np.uint8)
    # A tab that delimits nothing is a blank as well.
    is_bare = not data.startswith((b" ", b"-")) and (delimiter == b"\t" or b"\t" not in data)
    for start in range(0, len(characters), _CACHED_BYTES):
        part = characters[start : start + _CACHED_BYTES + 1]
        is_end = part == _NEWLINE
        if (is_end[:-1] & is_end[1:]).any():
            return True, False
        if is_bare:
            borders, is_space = is_end | (part == ord(delimiter)), part == _SPACE
            starts_badly = borders[:-1] & (is_space | (part == _MINUS))[1:]
            is_bare = not (starts_badly | (is_space[:-1] & borders[1:])).any()
    return False, is_bare


def _plain_ends(data: bytes) -> bytes:
    """Lines that end in LF alone; programs that write CR LF twice over leave CR CR LF."""
    if b"\r" not in data:
        return data
    return _LINE_ENDS.sub(b"\n", data) if b"\r\r\n" in data else data.replace(b"\r\n", b"\n")


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


class _Records:
    """Whole lines to records. Most lines are a record as they stand; the others are gone through one by one."""

    def __init__(self, data: bytes, first_line: int, dialect: Dialect | None, width: int, *, is_last: bool) -> None:
        self.data = _plain_ends(data)
        self.bytes = np.frombuffer(self.data, np.uint8)
        self.ends = np.flatnonzero(self.bytes == _NEWLINE)
        self.starts = np.concatenate(([0], self.ends[:-1] + 1)) if len(self.ends) else self.ends
        self.first_line = first_line
        self.width = width
        self.dialect = dialect or Dialect(quote="")
        self.line_count = len(self.ends)
        self.open_record = b""
        # line index -> (text, fields, problem) of a record that is not simply its line
        self.special: dict[int, tuple[str, list[str] | None, str | None]] = {}
        self.continuations: list[int] = []
        broken = self._broken_lines()
        quote = self.dialect.quote
        quoted = self._lines_with(ord(quote)) if quote else set()
        if broken or quoted:
            self.lines = self.data.decode(errors="replace").replace("\0", "\ufffd").split("\n")
            self._go_through(broken, quoted, is_last)

    def _go_through(self, broken: dict[int, str], quoted: set[int], is_last: bool) -> None:
        following = 0
        for index in sorted(broken.keys() | quoted):
            if index < following:
                continue
            if index not in quoted:
                self.special[index] = (self.lines[index], None, broken[index])
                continue
            fields, span, is_open = self._quoted_record(index)
            if is_open and not is_last:
                self.open_record = self.data[self.starts[index] :]
                self.line_count = index
                break
            text, problem = self.lines[index], None if fields else "bad_quoting"
            following = index + span
            if span > 1:
                text = "\n".join(self.lines[index:following])
                self.continuations.extend(range(index + 1, following))
            if broken:
                problem = next((broken[line] for line in range(index, following) if line in broken), problem)
            self.special[index] = (text, fields, problem)

    def block(self, position: int, unterminated_line: int = -1) -> Block:
        """The records as a table."""
        count = self.line_count
        offsets = np.concatenate(([0], self.ends[:count] + 1)).astype(np.int32)
        with_ends = pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(self.data)])
        raw = pc.binary_slice(with_ends, 0, -1)
        rows = np.delete(np.arange(count), self.continuations)
        if self.special:
            indices, records = np.array(list(self.special)), list(self.special.values())
            places = np.searchsorted(rows, indices)
            choice = rows.copy()
            choice[places] = count + np.arange(len(records))
            raw = pa.concat_arrays([raw, pa.array([text.encode() for text, _, _ in records], pa.binary())])
            raw = raw.take(pa.array(choice))
            which = np.zeros(len(rows), np.int64)
            which[places] = np.arange(len(records))
            is_plain = np.ones(len(rows), bool)
            is_plain[places] = False
            special = pa.array(which, mask=is_plain)
            fields = pa.array([fields for _, fields, _ in records], _FIELDS).take(special)
            problem = pa.array([problem for _, _, problem in records], pa.string()).take(special)
        else:
            fields, problem = pa.nulls(count, _FIELDS), pa.nulls(count, pa.string())
        # What is no UTF-8 is among the special ones; a cast would look at every byte once more.
        raw = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers(), raw.null_count, raw.offset)
        table = pa.table({"line": rows + self.first_line, "raw": raw, "fields": fields, "problem": problem})
        return Block(_batched(table), raw, position, unterminated_line)

    def _quoted_record(self, index: int) -> tuple[list[str] | None, int, bool]:
        """The record that starts at a line: its fields (None if its quotes make no sense), its number of lines, and
        whether it may go on after the last line."""
        try:
            return next(self._csv((self.lines[index],))), 1, False
        except csv.Error as error:
            if not _ends_inside_quotes(error):
                return None, 1, False
        stop = min(index + MAX_RECORD_LINES, self.line_count)
        reader = self._csv(line + "\n" for line in self.lines[index:stop])
        try:
            fields = next(reader)
        except csv.Error as error:
            return None, 1, stop < index + MAX_RECORD_LINES and _ends_inside_quotes(error)
        # A stray quote can swallow lines up to the next stray quote; then only the first line is to blame.
        return (fields, reader.line_num, False) if len(fields) == self.width else (None, 1, False)

    def _csv(self, lines: Iterable[str]) -> "_csv.Reader":
        return csv.reader(lines, delimiter=self.dialect.delimiter, quotechar=self.dialect.quote, strict=True)

    def _broken_lines(self) -> dict[int, str]:
        broken = dict.fromkeys(self._lines_with(_NUL), "nul_byte")
        try:
            self.data.isascii() or self.data.decode()
        except UnicodeDecodeError:
            for index in np.unique(np.searchsorted(self.ends, np.flatnonzero(self.bytes >= 0x80))).tolist():
                try:
                    self._line(index).decode()
                except UnicodeDecodeError:
                    broken[index] = "invalid_utf8"
        return broken

    def _lines_with(self, byte: int) -> set[int]:
        if byte not in self.data:
            return set()
        return set(np.unique(np.searchsorted(self.ends, np.flatnonzero(self.bytes == byte))).tolist())

    def _line(self, index: int) -> bytes:
        return self.data[self.starts[index] : self.ends[index]]


def _ends_inside_quotes(error: csv.Error) -> bool:
    return "unexpected end of data" in str(error)


def _parquet_blocks(source: Source, needed: set[int]) -> Iterator[Block]:
    file = open_parquet(source.path)
    row, total = 0, max(file.metadata.num_rows, 1)
    try:
        for batch in file.iter_batches(batch_size=4 * BATCH_ROWS):
            columns = {
                f"c{index}": _as_text(batch.column(index), source, name) if index in needed else pa.nulls(len(batch))
                for index, name in enumerate(batch.schema.names)
            }
            lines = np.arange(row, row + len(batch)) + 1
            row += len(batch)
            table = _batched(pa.table({"line": lines} | columns))
            yield Block(table, batch.to_struct_array(), source.size * row // total, is_split=True)
    except (pa.ArrowException, OSError) as error:
        raise FunneliftError(f"{source.path}: the Parquet file is damaged: {error}") from error


def _as_text(column: pa.Array, source: Source, name: str) -> pa.Array:
    """Numbers as a person writes them (an id that is a float or a decimal loses its .0), times in ISO format."""
    if pa.types.is_nested(column.type):
        return column  # becomes JSON text where it is checked
    if pa.types.is_timestamp(column.type) and column.type.tz:
        column = pc.cast(column, pa.timestamp(column.type.unit, "UTC"))
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
        whole = pc.and_(pc.equal(column, pc.round(column)), pc.less(pc.abs(column), 2.0**53))
        text = pc.cast(column, pa.string())
        integers = pc.cast(pc.if_else(whole, column, None), pa.int64()).cast(pa.string())
        return pc.if_else(pc.fill_null(whole, False), integers, text)
    try:
        text = pc.cast(column, pa.string())
        return pc.replace_substring_regex(text, r"\.0+$", "") if pa.types.is_decimal(column.type) else text
    except pa.ArrowException as error:
        raise FunneliftError(f"{source.path}: column {name} holds {column.type}; text or numbers are needed") from error


def _batched(table: pa.Table) -> pa.Table:
    # Long lines are few in a block; they too are to keep every core busy.
    rows = min(BATCH_ROWS, max(table.num_rows // 8, 2048))
    return pa.Table.from_batches(table.to_batches(max_chunksize=rows), table.schema)
