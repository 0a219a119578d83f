"""`python -m ingest map`: a first mapping of an unknown export."""

import argparse
import codecs
import datetime as dt
import tempfile
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ingest.contract import recognise
from ingest.guess.amend import amend
from ingest.guess.draft import Draft, draft
from ingest.guess.ready import contract_kind, ready_mapping
from ingest.guess.sample import take_sample
from ingest.guess.text import mapping_text
from ingest.guess.trial import Trial, try_mapping
from ingest.inputs import find_files
from ingest.mapping import RETAILROCKET, Mapping
from ingest.mapping_file import mapping_of, read_mappings
from ingest.source import HEAD_BYTES, Source, inspect, text_chunks
from warehouse.errors import FunneliftError, UsageError

ROWS_SHOWN = 3
# How often a draft is corrected by what becomes of the first lines.
_ROUNDS = 4
# What files of old spreadsheets are in; any byte is a character of it, so it comes last.
_OLD_ENCODING = "windows-1252"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to `python -m ingest`."""
    parser = commands.add_parser(
        "map",
        help="write a first mapping of another shop's export",
        description="Look at the first lines of files and write a mapping file with guesses, each marked by a comment. "
        "It shows rows as a load would write them and loads nothing.",
        epilog="Exit codes: 0 done, or no mapping is needed; 1 nothing could be guessed; 2 wrong usage.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files, or folders of them")
    parser.add_argument(
        "--out", type=Path, default=Path("mapping.yml"), metavar="FILE", help="what to write (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    output = Console(highlight=False, emoji=False, soft_wrap=True)
    if not output.is_terminal:
        output.width = 160
    try:
        if args.out.exists() or args.out.is_symlink():
            raise UsageError(f"--out: {args.out} exists; name another file, or remove it")
        text, trials = propose(args.files, output)
        if text:
            _write(args.out, text)
    except FunneliftError as error:
        messages = Console(stderr=True, highlight=False, emoji=False)
        messages.print(f"[bold red]no mapping was written[/]\n{escape(str(error))}", soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    if text:
        _show(trials, output)
        output.print(f"wrote {escape(str(args.out))}; check what is marked as a guess, then the whole files:")
        output.print(f"  python -m ingest check --raw ... --mapping {escape(str(args.out))}")
    return 0


def propose(paths: list[Path], output: Console) -> tuple[str, list[Trial]]:
    """Make the text of a mapping file.

    Parameters
    ----------
    paths : list of Path
        Files, or folders of them.
    output : rich.console.Console
        Where it tells which files need no mapping.

    Returns
    -------
    str
        YAML; blank if no file needs a mapping.
    list of Trial
        What becomes of each file's first lines by it.

    Raises
    ------
    FunneliftError
        A file cannot be read, or nothing can be guessed of it.
    UsageError
        A path does not exist.
    """
    sources = []
    for path in find_files(paths, []):
        source = _inspect(path)
        if layout := contract_kind(source):
            output.print(f"{escape(path.name)}: {layout.kind.name}, as the loader reads them; needs no mapping")
        else:
            sources.append(source)
    if not sources:
        return "", []
    if ready := ready_mapping([source.path for source in sources]):
        file, trials = ready
        heading = f"# guess: the columns and the first lines are those of examples/{file.name}\n"
        return heading + _without_schema(file.read_text(encoding="utf-8")), trials
    return _tried([_drafted(source) for source in sources], sources)


def _drafted(source: Source) -> Draft:
    try:
        return draft(take_sample(source))
    except FunneliftError as error:
        text = str(error)
        raise FunneliftError(text if text.startswith(str(source.path)) else f"{source.path}: {text}") from error


def _tried(drafts: list[Draft], sources: list[Source]) -> tuple[str, list[Trial]]:
    """The text of the drafts once they agree with the first lines of their files."""
    heading = [f"a first mapping of {', '.join(source.path.name for source in sources)[:200]}"]
    heading.append("what a comment calls a guess may be wrong; docs/loading.md describes every key")
    for _ in range(_ROUNDS):
        text = mapping_text(_merged(drafts, sources), heading)
        mappings = [mapping_of(_checked(text), source.path) or RETAILROCKET for source in sources]
        trials = [
            try_mapping(source, recognise(source, mapping)) for source, mapping in zip(sources, mappings, strict=True)
        ]
        amended = [amend(*each) for each in zip(drafts, trials, mappings, strict=True)]
        if not any(amended):
            break
    return text, trials


def _merged(drafts: list[Draft], sources: list[Source]) -> Draft:
    if all(found.content == drafts[0].content for found in drafts):
        return drafts[0]
    entries = [
        Draft({"match": _pattern(source.path.name)} | found.content, found.notes)
        for found, source in zip(drafts, sources, strict=True)
    ]
    return Draft({"files": entries})


def _pattern(name: str) -> str:
    """A pattern that one file's name fits, whatever characters it has."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _checked(text: str) -> list[Mapping]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mapping.yml"
        file.write_text(text, encoding="utf-8")
        return read_mappings(file)


def _inspect(path: Path) -> Source:
    """A file in the first of some encodings in which its beginning is text."""
    try:
        source = inspect(path)
    except FunneliftError as error:
        if "UTF-16" in str(error):
            return inspect(path, "utf-16")
        if isinstance(error.__cause__, UnicodeDecodeError):
            return inspect(path, _OLD_ENCODING)
        raise
    head = b"" if source.format == "parquet" else next(text_chunks(source, HEAD_BYTES))[0]
    # The last character may be cut in two.
    text = codecs.getincrementaldecoder("utf-8")("strict")
    try:
        text.decode(head)
    except UnicodeDecodeError:
        return inspect(path, _OLD_ENCODING)
    return source


def _without_schema(text: str) -> str:
    """Examples name the schema beside them."""
    return "".join(line for line in text.splitlines(keepends=True) if "yaml-language-server" not in line)


def _write(out: Path, text: str) -> None:
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise FunneliftError(f"{out}: cannot be written: {error.strerror}") from error


def _show(trials: list[Trial], output: Console) -> None:
    """Three mapped rows a file, of different events where there are, and what became of the lines looked at."""
    for trial in trials:
        name = escape(trial.source.path.name)
        counts = (
            f"{trial.accepted.num_rows:,} events, {trial.ignored_count:,} ignored, {trial.rejected_count:,} rejected"
        )
        output.print(f"{name}: of its first {trial.line_count:,} lines {counts}")
        for reason, count in trial.reasons.most_common():
            output.print(f"  {reason}: {count:,}")
        rows = trial.accepted.to_pylist()
        first = {row["event"]: row for row in reversed(rows)}
        chosen = [*first.values(), *(row for row in rows if row not in first.values())][:ROWS_SHOWN]
        shown = [key for key in (rows[0] if rows else {}) if any(row[key] is not None for row in chosen)]
        table = Table(*shown, box=SIMPLE_HEAD, pad_edge=False)
        for row in sorted(chosen, key=lambda row: row["timestamp"]):
            table.add_row(*(_cell_text(key, row[key]) for key in shown))
        output.print(table)


def _cell_text(key: str, value: object) -> str:
    if key == "timestamp" and isinstance(value, int):
        moment = dt.datetime.fromtimestamp(value / 1000, dt.UTC)
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    text = "" if value is None else str(value)
    return escape("".join(character if character.isprintable() else "?" for character in text[:40]))
