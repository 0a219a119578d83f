"""The files of a load: found, recognised by their columns, and told apart by their content."""

import hashlib
import json
import math
import os
import time
import zipfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypedDict

from rich.markup import escape
from rich.progress import Progress, TaskID

from ingest.contract import EVENTS, Layout, recognise
from ingest.limits import FILE_CHARACTERS
from ingest.mapping import RETAILROCKET, Mapping
from ingest.mapping_file import mapping_of
from ingest.reader import MAX_RECORD_LINES
from ingest.source import HEAD_BYTES, Source, content_hash, inspect
from warehouse.errors import FunneliftError, UsageError

SYNTHETIC_MARKER = "synthetic.json"
DATA_SUFFIXES = (".csv", ".tsv", ".dat", ".jsonl", ".ndjson", ".json", ".parquet")
# What the reader of a packed file has taken from it and not yet unpacked.
READ_AHEAD_BYTES = 1 << 18
PACKED_SUFFIXES = (".gz", ".zst", ".zip")


class LoadColumns(TypedDict):
    """The columns by which a raw row names its load."""

    load_id: str
    load_number: int


@dataclass
class Input:
    """One file of the command, what is known of it, and what became of it."""

    source: Source
    layout: Layout
    is_synthetic: bool
    content_sha256: str = ""
    load_number: int = 0
    position: int = 0
    line_count: int = 0
    accepted_count: int = 0
    rejected_count: int = 0
    ignored_count: int = 0
    seconds: float = 0.0
    note: str = ""
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    categories: set[str] = field(default_factory=set)
    float_ids: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The file as the user named it."""
        # Without a locale Python reads the bytes of a path as surrogates, which no warehouse takes.
        return os.fsencode(self.source.path).decode(errors="replace")

    @property
    def most_lines(self) -> float:
        """The most lines that the file can turn out to have, as far as it has been read."""
        largest = self.source.largest_unpacking
        if largest is None or self.source.format == "parquet":
            return math.inf
        left = self.source.size - self.position + (READ_AHEAD_BYTES if self.source.packing else 0)
        return self.line_count + left * largest + MAX_RECORD_LINES

    @property
    def load_id(self) -> str:
        """The same file read in the same way always has the same id."""
        return hashlib.sha256(f"{self.content_sha256} {self.layout.fingerprint}".encode()).hexdigest()[:16]

    @property
    def load(self) -> LoadColumns:
        """What every row of the file says of its load."""
        return {"load_id": self.load_id, "load_number": self.load_number}


def inspect_all(raw: list[Path], mappings: list[Mapping] | None, passed_over: list[str]) -> list[Input]:
    """Look at every file before anything is loaded, so that all that is wrong with them shows at once.

    Parameters
    ----------
    raw : list of Path
        Folders or files.
    mappings : list of Mapping or None
        What events and assignments follow, each for the files that its `match` fits.
    passed_over : list of str
        Gets what of a folder is not read, and why.

    Returns
    -------
    list of Input
        The files, each with its layout.

    Raises
    ------
    FunneliftError
        A file cannot be read or recognised, or a folder holds no events.
    UsageError
        A path does not exist.
    """
    inputs, problems = [], []
    for path in find_files(raw, passed_over):
        if len(str(path)) > FILE_CHARACTERS:
            problems.append(f"{path}: a path of more than {FILE_CHARACTERS:,} characters; give a shorter one")
            continue
        try:
            source, layout = _recognised(path, mappings)
        except FunneliftError as error:
            text = str(error)
            problems.append(text if text.startswith(str(path)) else f"{path}: {text}")
            continue
        inputs.append(Input(source, layout, (path.parent / SYNTHETIC_MARKER).exists()))
    if problems:
        raise FunneliftError("\n".join(problems))
    for folder in (path for path in raw if path.is_dir()):
        if not any(each.layout.kind is EVENTS and folder in each.source.path.parents for each in inputs):
            found = ", ".join(f"{each.source.path.name} ({each.layout.kind.name})" for each in inputs)
            raise FunneliftError(
                f"{folder}: no events file in this folder; found only {found}. To load these alone, name the files "
                "themselves after --raw"
            )
    return inputs


def _recognised(path: Path, mappings: list[Mapping] | None) -> tuple[Source, Layout]:
    mapping = mapping_of(mappings, path)
    if mappings and mapping is None:
        mapping = RETAILROCKET.model_copy(update={"assignments": mappings[0].assignments})
        source = inspect(path)
        patterns = ", ".join(each.match for each in mappings)
        try:
            layout = recognise(source, mapping)
        except FunneliftError as error:
            raise FunneliftError(
                f"no match under files in the mapping file ({patterns}) fits the name; {error}"
            ) from error
        if layout.kind is EVENTS:
            raise FunneliftError(f"events, but no match under files in the mapping file ({patterns}) fits the name")
        return source, layout
    if mapping and mapping.encoding != "utf-8":
        # What lies beside mapped events follows the contract, which is in UTF-8.
        with suppress(FunneliftError):
            source = inspect(path)
            layout = recognise(source, mapping)
            if layout.kind is not EVENTS:
                return source, layout
        source = inspect(path, mapping.encoding)
        return source, recognise(source, mapping)
    source = inspect(path)
    return source, recognise(source, mapping)


def find_files(raw: list[Path], passed_over: list[str]) -> list[Path]:
    """List the files that folders and files name.

    Parameters
    ----------
    raw : list of Path
        Folders or files.
    passed_over : list of str
        Gets what of a folder is not read, and why.

    Returns
    -------
    list of Path
        Each once, in the order in which they are named; those of a folder by name.

    Raises
    ------
    FunneliftError
        A folder holds no data, or a link that leads nowhere.
    UsageError
        A path does not exist.
    """
    files: dict[Path, None] = {}
    for path in raw:
        try:
            is_there, is_folder = path.exists(), path.is_dir()
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        if not is_there:
            raise UsageError(f"{path} does not exist")
        if not is_folder:
            files[path] = None
            continue
        found: list[Path] = []
        _scan(path, found, passed_over)
        if not found:
            names = ", ".join(passed_over[:20]) or "nothing"
            raise FunneliftError(
                f"{path}: no events file in this folder; looked for {', '.join(DATA_SUFFIXES)} (or "
                f"{', '.join(PACKED_SUFFIXES)} of these), found {names}. Name the files themselves after --raw"
            )
        files.update(dict.fromkeys(found))
    return list(files)


def _scan(folder: Path, found: list[Path], passed_over: list[str]) -> None:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FunneliftError(f"{folder}: cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name == SYNTHETIC_MARKER:
            continue
        if not entry.exists():
            raise FunneliftError(f"{entry}: a link to {entry.readlink()}, which does not exist; mend or remove it")
        if entry.is_dir():
            parts = _parquet_parts(entry)
            found += parts
            if not parts:
                passed_over.append(f"{entry.name}/ (a folder; only folders of Parquet files are read too)")
        elif _data_suffix(entry) not in DATA_SUFFIXES:
            passed_over.append(f"{entry.name} (its ending is none of data)")
        elif entry.suffix.lower() == ".json" and not _is_json_lines(entry):
            passed_over.append(f"{entry.name} (one JSON document, not a JSON object a line)")
        elif not entry.is_file():
            passed_over.append(f"{entry.name} (a pipe, device or socket)")
        else:
            found.append(entry)


def _parquet_parts(folder: Path) -> list[Path]:
    """The files of a table that was written as a folder of Parquet files, and maybe of folders for its partitions."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith((".", "_"))]
    return sorted(files) if files and all(path.suffix == ".parquet" for path in files) else []


def _data_suffix(path: Path) -> str:
    name = path.name.lower()
    for packed in PACKED_SUFFIXES:
        name = name.removesuffix(packed)
    if path.suffix.lower() == ".zip" and "." not in name:
        try:
            with zipfile.ZipFile(path) as archive:
                name = next(iter(archive.namelist()), "").lower()
        except (zipfile.BadZipFile, OSError):
            return ""
    return Path(name).suffix


def _is_json_lines(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return isinstance(json.loads(file.readline(HEAD_BYTES)), dict)
    except (OSError, ValueError, RecursionError):
        return False


def hash_all(inputs: list[Input], progress: Progress) -> None:
    """Fingerprint the content of every file.

    Parameters
    ----------
    inputs : list of Input
        The files, which get their `content_sha256`.
    progress : rich.progress.Progress
        Where progress goes.
    """
    for each in inputs:
        task = progress.add_task(f"checking {escape(each.source.path.name)}", total=each.source.size)
        started = time.monotonic()
        each.content_sha256 = content_hash(each.source, partial(_advance, progress, task))
        each.seconds = time.monotonic() - started
        progress.remove_task(task)


def _advance(progress: Progress, task: TaskID, position: int) -> None:
    progress.update(task, completed=position)
