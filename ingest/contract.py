"""The raw contract: the kinds of file that load, and which column of a file holds what."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ingest.field_path import column_of
from ingest.mapping import RETAILROCKET, Assignments, Cell, Mapping, cell_names
from ingest.source import Dialect, Source, split_line
from warehouse.errors import FunneliftError


@dataclass(frozen=True)
class Kind:
    """One kind of raw file; `columns` is its header when no mapping is needed."""

    name: str
    table: str
    columns: tuple[str, ...]

    def __reduce__(self) -> tuple[Callable[[str], "Kind"], tuple[str]]:
        """A kind that comes to a worker is the one of this name there, so that `is` tells kinds apart."""
        return _kind, (self.name,)


EVENTS = Kind("events", "raw_events", tuple(RETAILROCKET.columns.names()))
ITEM_PROPERTIES = Kind("item properties", "raw_item_properties", ("timestamp", "itemid", "property", "value"))
CATEGORY_TREE = Kind("category tree", "raw_category_tree", ("categoryid", "parentid"))
TREATMENT_ASSIGNMENTS = Kind(
    "treatment assignments", "raw_treatment_assignments", tuple(RETAILROCKET.assignments.columns.names())
)
# The fields of a mapping in the words of the raw contract, where these differ.
_CELLS = {"visitor": "visitorid", "item": "itemid", "transaction": "transactionid", "category": "categoryid"}


def _kind(name: str) -> Kind:
    (kind,) = (each for each in (EVENTS, ITEM_PROPERTIES, CATEGORY_TREE, TREATMENT_ASSIGNMENTS) if each.name == name)
    return kind


@dataclass(frozen=True)
class Layout:
    """What a file is and where its cells are.

    `cells` gives, for each cell that the kind needs, the columns or paths that it is read from; a cell that the source
    does not have is left out.
    """

    kind: Kind
    mapping: Mapping
    dialect: Dialect
    header: tuple[str, ...]
    cells: dict[str, Cell]

    @property
    def words(self) -> Mapping | Assignments:
        """What the mapping says about this kind of file."""
        return self.mapping.assignments if self.kind is TREATMENT_ASSIGNMENTS else self.mapping

    @property
    def fingerprint(self) -> str | None:
        """Hash of the mapping the file is read with; None where no mapping applies."""
        return self.words.fingerprint() if self.kind in (EVENTS, TREATMENT_ASSIGNMENTS) else None

    @property
    def names(self) -> set[str]:
        """The columns and paths that are read."""
        names = {name for cell in self.cells.values() for name in cell_names(cell)}
        return names | set(rule_names(self.mapping)) if self.kind is EVENTS else names

    @property
    def positions(self) -> set[int]:
        """The columns, 0-based, that are read."""
        return {self.header.index(column_of(name, self.header)) for name in self.names}


def rule_names(mapping: Mapping) -> list[str]:
    """List the columns and paths that the rules of a mapping look at."""
    return list(dict.fromkeys(name for rule in mapping.event_rules for name in rule.when))


def recognise(source: Source, mapping: Mapping | None) -> Layout:
    """Tell from its header what a file is.

    Parameters
    ----------
    source : Source
        The file.
    mapping : Mapping or None
        The mapping that events and assignments follow; None for files that follow the contract as they are.

    Returns
    -------
    Layout
        The file's kind and where its cells are.

    Raises
    ------
    FunneliftError
        The header fits nothing, or has columns that the mapping says nothing about.
    """
    words = mapping or RETAILROCKET
    mapped = Dialect(source.separator or words.delimiter, words.quote)
    headers: dict[Dialect, tuple[str, ...]] = {}
    for dialect in dict.fromkeys((mapped, Dialect(words.assignments.delimiter), Dialect())):
        headers[dialect] = tuple(source.header(dialect.delimiter, dialect.quote))
    # In JSON a key that may be blank may also be absent.
    may_lack = source.format == "jsonl"
    for dialect, header in headers.items():
        if words.header is None and _fits(words, header, may_lack):
            return _events(words, dialect, header)
        for kind in (ITEM_PROPERTIES, CATEGORY_TREE):
            if set(header) == set(kind.columns):
                _check_twice(header)
                return Layout(kind, RETAILROCKET, dialect, header, {name: name for name in kind.columns})
        names = words.assignments.columns.names()
        if set(names) <= set(header):
            cells: dict[str, Cell] = dict(words.assignments.cells(header))
            _check_header(header, list(words.assignments.cells(header).values()), words.assignments, "assignments.")
            return Layout(TREATMENT_ASSIGNMENTS, words, dialect, header, cells)
    if words.header is not None and source.format == "csv":
        found = len(split_line(source.head, mapped.delimiter, mapped.quote))
        if found == len(words.header):
            return _events(words, replace(mapped, has_header=False), tuple(words.header))
        raise FunneliftError(
            f"its first line has {found} fields; header in the mapping names {len(words.header)} columns"
        )
    raise FunneliftError(_misfit([list(header) for header in headers.values()], mapping))


def _fits(words: Mapping, header: tuple[str, ...], may_lack: bool) -> bool:
    """Whether a file has the columns of mapped events; in JSON those that no event can do without."""
    if not may_lack:
        return all(column_of(name, header) in header for name in words.columns.names() + rule_names(words))
    needed = [words.columns.timestamp, words.columns.visitor, words.columns.event, words.columns.item]
    return all(any(column_of(name, header) in header for name in cell_names(cell)) for cell in needed if cell)


def _events(words: Mapping, dialect: Dialect, header: tuple[str, ...]) -> Layout:
    names = words.columns.names() + rule_names(words)
    _check_header(header, [column_of(name, header) for name in names], words)
    # An optional key that the first lines lack may still come later.
    whole = (*header, *dict.fromkeys(root for name in names if (root := column_of(name, header)) not in header))
    cells = {_CELLS.get(name, name): cell for name, cell in words.columns.cells().items()}
    return Layout(EVENTS, words, dialect, whole, cells)


def _check_twice(header: tuple[str, ...]) -> None:
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise FunneliftError(f"the header has {', '.join(twice)} more than once")


def _check_header(header: tuple[str, ...], mapped: list[str], words: Mapping | Assignments, section: str = "") -> None:
    _check_twice(header)
    unknown = [name for name in header if name not in (*mapped, *words.ignore_columns)]
    if unknown and not words.ignore_other_columns:
        raise FunneliftError(
            f"nothing says what to do with the column(s) {', '.join(unknown)}; map them in a mapping file "
            f"(--mapping) or list them there under {section}ignore_columns"
        )


def _misfit(headers: list[list[str]], mapping: Mapping | None) -> str:
    words = mapping or RETAILROCKET
    wanted = {
        EVENTS.name + _as_mapped(words.columns, RETAILROCKET.columns): words.columns.names() + rule_names(words),
        ITEM_PROPERTIES.name: list(ITEM_PROPERTIES.columns),
        CATEGORY_TREE.name: list(CATEGORY_TREE.columns),
        TREATMENT_ASSIGNMENTS.name
        + _as_mapped(words.assignments.columns, RETAILROCKET.assignments.columns): words.assignments.columns.names(),
    }
    header = max(headers, key=lambda names: max(len(set(names) & set(columns)) for columns in wanted.values()))
    nearest = max(wanted, key=lambda name: len(set(header) & set(wanted[name])))
    found = ", ".join(name[:60] for name in header[:30])
    if any(name.replace(".", "", 1).isdigit() for name in header):
        return f"the first line ({found}) looks like data: the file needs a header line with the column names"
    missing = [name for name in wanted[nearest] if column_of(name, tuple(header)) not in header]
    roots = {column_of(name, tuple(header)) for name in wanted[nearest]}
    unexpected = [name for name in header if name not in roots]
    if len(missing) == len(wanted[nearest]):
        expected = "; or ".join(f"{name}: {', '.join(columns)}" for name, columns in wanted.items())
        problem = f"expected one of {expected}"
    else:
        problem = f"as {nearest}, missing: {', '.join(missing) or 'none'}"
        problem += f"; not expected: {', '.join(unexpected)}" if unexpected else ""
    cure = (
        "write a mapping file (--mapping)" if mapping is None else "correct columns (or delimiter) in the mapping file"
    )
    return f"found the columns {found}; {problem}. Correct the header, or {cure}; see docs/loading.md"


def _as_mapped(columns: object, contract: object) -> str:
    return "" if columns == contract else " as mapped"
