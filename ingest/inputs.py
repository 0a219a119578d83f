"""The files of a load: found, recognised by their columns, and told apart by their content."""

import hashlib
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypedDict

from rich.markup import escape
from rich.progress import Progress, TaskID

from ingest.contract import EVENTS, Layout, recognise
from ingest.limits import FILE_CHARACTERS
from ingest.mapping import Mapping
from ingest.source import Source, content_hash, inspect
from warehouse.errors import FunneliftError, UsageError

SYNTHETIC_MARKER = "synthetic.json"
DATA_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


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
    line_count: int = 0
    accepted_count: int = 0
    rejected_count: int = 0
    ignored_count: int = 0
    seconds: float = 0.0
    note: str = ""
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    categories: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The file as the user named it."""
        return str(self.source.path)

    @property
    def load_id(self) -> str:
        """The same file read in the same way always has the same id."""
        return hashlib.sha256(f"{self.content_sha256} {self.layout.fingerprint}".encode()).hexdigest()[:16]

    @property
    def load(self) -> LoadColumns:
        """What every row of the file says of its load."""
        return {"load_id": self.load_id, "load_number": self.load_number}


def inspect_all(raw: list[Path], mapping: Mapping | None) -> list[Input]:
    """Look at every file before anything is loaded, so that all that is wrong with them shows at once.

    Parameters
    ----------
    raw : list of Path
        Folders or files.
    mapping : Mapping or None
        The mapping that events and assignments follow.

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
    delimiters = dict.fromkeys((mapping.delimiter, mapping.assignments.delimiter, ",") if mapping else (",",))
    for path in _find_files(raw):
        if len(str(path)) > FILE_CHARACTERS:
            problems.append(f"{path}: a path of more than {FILE_CHARACTERS:,} characters; give a shorter one")
            continue
        try:
            source = inspect(path)
            headers = {delimiter: source.header(delimiter) for delimiter in delimiters}
            layout = recognise(headers, mapping, optional_may_lack=source.format == "jsonl")
        except FunneliftError as error:
            text = str(error)
            problems.append(text if text.startswith(str(path)) else f"{path}: {text}")
            continue
        inputs.append(Input(source, layout, (path.parent / SYNTHETIC_MARKER).exists()))
    if problems:
        raise FunneliftError("\n".join(problems))
    for folder in (path for path in raw if path.is_dir()):
        if not any(each.layout.kind is EVENTS and each.source.path.parent == folder for each in inputs):
            found = ", ".join(f"{each.source.path.name} ({each.layout.kind.name})" for each in inputs)
            raise FunneliftError(
                f"{folder}: no events file in this folder; found only {found}. To load these alone, name the files "
                "themselves after --raw"
            )
    return inputs


def _find_files(raw: list[Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in raw:
        if not path.exists():
            raise UsageError(f"--raw: {path} does not exist")
        if not path.is_dir():
            files[path] = None
            continue
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        found = [
            entry
            for entry in entries
            if entry.is_file() and entry.name != SYNTHETIC_MARKER and _data_suffix(entry) in DATA_SUFFIXES
        ]
        if not found:
            names = ", ".join(entry.name + ("/" if entry.is_dir() else "") for entry in entries[:20]) or "nothing"
            raise FunneliftError(
                f"{path}: no events file in this folder; looked for {', '.join(DATA_SUFFIXES)} (or .gz of these), "
                f"found {names}. Unpack archives first, or name the files themselves after --raw"
            )
        files.update(dict.fromkeys(found))
    return list(files)


def _data_suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


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
