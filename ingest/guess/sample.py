"""A file's first records, column by column."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ingest.field_path import field_path
from ingest.guess.words import NULL_WORDS
from ingest.reader import Block, blocks
from ingest.source import HEAD_BYTES, Dialect, Source, is_typed_time, split_line, text_chunks
from warehouse.errors import FunneliftError

MAX_RECORDS = 20_000
MAX_COLUMNS = 500
MAX_NAME_CHARACTERS = 200
MAX_DEPTH = 6
DELIMITERS = (",", ";", "\t", "|")
_LINES_LOOKED_AT = 200
_LINES_COMPARED = 4


@dataclass
class Column:
    """A column or path, and its texts in the sample, without the blank ones."""

    name: str
    texts: list[str] = field(default_factory=list)
    nulls: set[str] = field(default_factory=set)
    records: int = 0
    is_time: bool = False

    @property
    def opened(self) -> str:
        """The list whose entries it is read from; blank for none."""
        return self.name.rpartition("[]")[0] if "[]" in self.name else ""

    def add(self, text: str) -> None:
        """Note one more text."""
        stripped = text.strip()
        if stripped in NULL_WORDS:
            self.nulls.add(stripped)
        elif stripped:
            self.texts.append(stripped)


@dataclass(frozen=True)
class Sample:
    """The first records of a file; `header` where the file has none of its own."""

    source: Source
    dialect: Dialect
    columns: list[Column]
    record_count: int
    block: Block
    header: list[str] | None = None

    @property
    def is_json(self) -> bool:
        """Whether a record is a JSON object."""
        return self.source.format == "jsonl"


def take_sample(source: Source, layout: tuple[Dialect, list[str] | None] | None = None) -> Sample:
    """Read the first records of a file.

    Parameters
    ----------
    source : Source
        The file.
    layout : tuple of Dialect and list of str, or None
        How a CSV file is written, and its columns where it has no header; None to guess.

    Returns
    -------
    Sample
        Its columns; paths, where they hold objects and lists.

    Raises
    ------
    FunneliftError
        The file is damaged, or holds no records.
    """
    dialect, header = Dialect(), None
    names = list(source.keys)
    if source.format == "csv":
        dialect, header = layout or _layout_of_csv(source)
        names = header or source.header(dialect.delimiter, dialect.quote)
    block = first_block(source, dialect, len(names), set(range(len(names))))
    columns: dict[str, Column] = {}
    count = 0
    for record in _records(block, source, dialect, names):
        count += 1
        for name, texts in _texts(record).items():
            column = columns.setdefault(name, Column(name)) if len(columns) < MAX_COLUMNS else columns.get(name)
            if column is not None:
                column.records += 1
                for text in texts:
                    column.add(text)
    if not count:
        raise FunneliftError(f"{source.path}: no record in its first lines can be read; nothing to guess from")
    for place, name in enumerate(names if source.format == "parquet" else []):
        if name in columns:
            columns[name].is_time = is_typed_time(source, place)
    known = [column for column in columns.values() if _can_be_named(column.name)]
    return Sample(source, dialect, known, count, block, header)


def first_block(source: Source, dialect: Dialect, width: int, needed: set[int]) -> Block:
    """Read the first records of a file as a load does.

    Parameters
    ----------
    source : Source
        The file.
    dialect : Dialect
        How a CSV file is written.
    width : int
        Number of its columns.
    needed : set of int
        Columns whose values matter.

    Returns
    -------
    Block
        At most MAX_RECORDS records.
    """
    block = next(iter(blocks(source, dialect, width, needed)), None)
    if block is None:
        raise FunneliftError(f"{source.path}: a header and no lines; nothing to guess from")
    return replace(block, table=block.table.slice(0, MAX_RECORDS))


def _layout_of_csv(source: Source) -> tuple[Dialect, list[str] | None]:
    head = next(text_chunks(source, HEAD_BYTES))[0].decode(errors="replace").removeprefix("\ufeff")
    skipped = bool(source.separator)
    lines = [line for line in head.splitlines()[skipped : _LINES_LOOKED_AT + 1] if line.strip()]
    lines = lines[:-1] if len(lines) > _LINES_LOOKED_AT else lines
    delimiter = source.separator or max(DELIMITERS, key=lambda mark: _evenness(lines, mark))
    quote = '"' if _is_quoted_well(lines, delimiter) else ""
    first = [cell.strip() for cell in split_line(lines[0], delimiter, quote)]
    if _are_names(first, list(_rows(lines[1:_LINES_COMPARED], delimiter))):
        if twice := sorted({name for name in first if first.count(name) > 1}):
            raise FunneliftError(f"{source.path}: the header has {', '.join(twice)} more than once")
        return Dialect(delimiter, quote), None
    return Dialect(delimiter, quote, has_header=False), [f"column_{place}" for place in range(1, len(first) + 1)]


def _are_names(first: list[str], others: list[list[str]]) -> bool:
    """Whether the first line names the columns; one name may be blank, as after a delimiter at its end."""
    if any(_is_datum(cell) for cell in first) or first.count("") > 1:
        return False
    # Names that stand twice, or are blank, may be data. A line of data has a time, which is no name.
    is_plain = len(set(first)) == len(first) and all(first)
    return is_plain or (bool(others) and all(any(_is_datum(cell.strip()) for cell in line) for line in others))


def _evenness(lines: list[str], delimiter: str) -> tuple[float, int]:
    """How many lines have as many fields as most, and how many fields these are."""
    widths = Counter(len(row) for row in _rows(lines, delimiter))
    width, count = widths.most_common(1)[0] if widths else (1, 0)
    return (round(count / max(len(lines), 1), 1), width) if width > 1 else (0.0, 1)


def _rows(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    for line in lines:
        try:
            yield next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            yield []


def _is_quoted_well(lines: list[str], delimiter: str) -> bool:
    """Whether quotation marks enclose fields; a field may go on in the next line."""
    try:
        list(csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return True


def _is_datum(cell: str) -> bool:
    """Whether a text is a number or a time, as no name of a column is."""
    digits = sum(character.isdigit() for character in cell)
    return digits > 0 and not any(character.isalpha() for character in cell.replace("T", "").replace("Z", ""))


def _records(block: Block, source: Source, dialect: Dialect, names: list[str]) -> Iterator[dict[str, Any]]:
    if source.format == "parquet":
        texts = block.table.select(block.table.column_names[1:]).rename_columns(names)
        plain = [place for place, column in enumerate(texts.columns) if not pa.types.is_nested(column.type)]
        nested = [name for place, name in enumerate(names) if place not in plain]
        rows = texts.to_pylist()
        yield from ({key: _plain(value) if key in nested else value for key, value in row.items()} for row in rows)
        return
    if block.is_split:
        cells = (block.table[name].to_pylist() for name in block.table.column_names[1:])
        yield from (dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True))
        return
    raws, fields = block.table["raw"].to_pylist(), block.table["fields"].to_pylist()
    for raw, quoted, problem in zip(raws, fields, block.table["problem"].to_pylist(), strict=True):
        if problem:
            continue
        if source.format == "csv":
            cells = raw.split(dialect.delimiter) if quoted is None else quoted
            if len(cells) == len(names):
                yield dict(zip(names, cells, strict=True))
            continue
        try:
            record = json.loads(raw)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _texts(record: dict[str, Any]) -> dict[str, list[str]]:
    """The texts of a record by their path."""
    found: dict[str, list[str]] = {}
    _collect(record, "", found, MAX_DEPTH)
    return found


def _collect(value: Any, path: str, found: dict[str, list[str]], depth: int) -> None:
    if isinstance(value, dict) and depth:
        for key, inner in value.items():
            _collect(inner, f"{path}.{key}" if path else str(key), found, depth - 1)
    elif isinstance(value, list) and depth and path.count("[]") < 2:
        for entry in value[:100]:
            if isinstance(entry, dict | str | int | float):
                _collect(entry, f"{path}[]", found, depth - 1)
    elif isinstance(value, str | int | float) and len(found) < MAX_COLUMNS:
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        found.setdefault(path, []).append(text[:1000])
    elif value is None and path:
        found.setdefault(path, [])


def _can_be_named(name: str) -> bool:
    """Whether a mapping can say the name: as text of a YAML file, and, of a path, step by step."""
    if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable() or name != name.strip():
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "[" not in name.replace("[]", "") and (not field_path(name).is_plain or "[]" not in name)


def all_texts(columns: Iterable[Column]) -> set[str]:
    """Texts that stand for nothing in these columns."""
    return {null for column in columns for null in column.nulls}
