"""The ready mappings in examples/: which of them a set of files follows."""

from pathlib import Path

from ingest.contract import EVENTS, Layout, recognise
from ingest.guess.trial import Trial, try_mapping
from ingest.mapping import Mapping
from ingest.mapping_file import mapping_of, read_mappings
from ingest.source import Source, inspect
from warehouse.errors import FunneliftError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# Of the lines of a file that follows a ready mapping no more than these are rejected ...
_MAX_REJECT_RATE = 0.01
# ... but for this: those who refused cookies have no id, and they can be many.
_ANONYMOUS = "empty_visitor"


def ready_mapping(paths: list[Path]) -> tuple[Path, list[Trial]] | None:
    """Find the ready mapping that all files follow, by their columns and by what becomes of their first lines.

    Parameters
    ----------
    paths : list of Path
        The files.

    Returns
    -------
    Path
        The mapping file, of those that fit the one that most lines are events by.
    list of Trial
        What becomes of each file's first lines.
    """
    found = []
    for file in sorted(EXAMPLES.glob("*.yml")):
        trials = _follow(paths, read_mappings(file))
        if trials:
            found.append((sum(trial.accepted.num_rows for trial in trials), file, trials))
    if not found:
        return None
    _, file, trials = max(found, key=lambda each: each[0])
    return file, trials


def contract_kind(source: Source) -> Layout | None:
    """Tell whether a file follows the raw contract and needs no mapping.

    Parameters
    ----------
    source : Source
        The file.

    Returns
    -------
    Layout or None
        What it is; None if it needs one.
    """
    try:
        return recognise(source, None)
    except FunneliftError:
        return None


def _follow(paths: list[Path], mappings: list[Mapping]) -> list[Trial]:
    trials = []
    for path in paths:
        mapping = mapping_of(mappings, path)
        if mapping is None:
            return []
        try:
            source = inspect(path, mapping.encoding)
            layout = recognise(source, mapping)
            if layout.kind is not EVENTS:
                return []
            trial = try_mapping(source, layout)
        except FunneliftError:
            return []
        anonymous = trial.reasons[_ANONYMOUS]
        if trial.rejected_count - anonymous > _MAX_REJECT_RATE * trial.line_count:
            return []
        if trial.accepted.num_rows <= anonymous:
            return []
        trials.append(trial)
    return trials
