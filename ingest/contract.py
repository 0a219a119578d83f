"""The raw contract: the kinds of file that load, and which column of a file holds what."""

from dataclasses import dataclass

from ingest.mapping import RETAILROCKET, Assignments, Mapping
from warehouse.errors import FunneliftError


@dataclass(frozen=True)
class Kind:
    """One kind of raw file; `columns` is its header when no mapping is needed."""

    name: str
    table: str
    columns: tuple[str, ...]


EVENTS = Kind("events", "raw_events", tuple(RETAILROCKET.columns.names()))
ITEM_PROPERTIES = Kind("item properties", "raw_item_properties", ("timestamp", "itemid", "property", "value"))
CATEGORY_TREE = Kind("category tree", "raw_category_tree", ("categoryid", "parentid"))
TREATMENT_ASSIGNMENTS = Kind(
    "treatment assignments", "raw_treatment_assignments", tuple(RETAILROCKET.assignments.columns.names())
)


@dataclass(frozen=True)
class Layout:
    """What a file is and where its cells are.

    `positions` gives, for each cell that the kind needs, the columns of the file that may hold it (0-based, the first
    one that is not blank counts); a cell that the file does not have is left out.
    """

    kind: Kind
    mapping: Mapping
    delimiter: str
    header: tuple[str, ...]
    positions: dict[str, tuple[int, ...]]

    @property
    def words(self) -> Mapping | Assignments:
        """What the mapping says about this kind of file."""
        return self.mapping.assignments if self.kind is TREATMENT_ASSIGNMENTS else self.mapping

    @property
    def fingerprint(self) -> str | None:
        """Hash of the mapping the file is read with; None where no mapping applies."""
        return self.words.fingerprint() if self.kind in (EVENTS, TREATMENT_ASSIGNMENTS) else None


def recognise(headers: dict[str, list[str]], mapping: Mapping | None, optional_may_lack: bool = False) -> Layout:
    """Tell from its header what a file is.

    Parameters
    ----------
    headers : dict of str to list of str
        The header as each delimiter in question splits it.
    mapping : Mapping or None
        The mapping that events and assignments follow; None for files that follow the contract as they are.
    optional_may_lack : bool
        Whether a column that may be blank may also be absent, as keys are in JSON.

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
    needed = words.columns.names()[:4] if optional_may_lack else words.columns.names()
    for delimiter, header in headers.items():
        if set(needed) <= set(header):
            _check_header(header, words)
            # An optional key that the first lines lack may still come later.
            whole = [*header, *(name for name in words.columns.names() if name not in header)]
            return Layout(EVENTS, words, delimiter, tuple(whole), _event_positions(words, whole))
        for kind in (ITEM_PROPERTIES, CATEGORY_TREE):
            if set(header) == set(kind.columns):
                _check_twice(header)
                positions: dict[str, tuple[int, ...]] = {name: (header.index(name),) for name in kind.columns}
                return Layout(kind, RETAILROCKET, delimiter, tuple(header), positions)
        names = words.assignments.columns.names()
        if set(names) <= set(header):
            _check_header(header, words.assignments, "assignments.")
            positions = {
                cell: (header.index(name),) for cell, name in zip(TREATMENT_ASSIGNMENTS.columns, names, strict=True)
            }
            return Layout(TREATMENT_ASSIGNMENTS, words, delimiter, tuple(header), positions)
    raise FunneliftError(_misfit(list(headers.values()), mapping))


def _event_positions(mapping: Mapping, header: list[str]) -> dict[str, tuple[int, ...]]:
    columns = mapping.columns
    cells: dict[str, list[str | None]] = {
        "timestamp": [columns.timestamp],
        "visitorid": [columns.visitor],
        "event": [columns.event],
        "itemid": [columns.item],
        "transactionid": [columns.transaction],
        "price": [columns.price],
        "categoryid": [*columns.category],
        "event_id": [columns.event_id],
    }
    found = {cell: tuple(header.index(name) for name in names if name) for cell, names in cells.items()}
    return {cell: places for cell, places in found.items() if places}


def _check_twice(header: list[str]) -> None:
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise FunneliftError(f"the header has {', '.join(twice)} more than once")


def _check_header(header: list[str], words: Mapping | Assignments, section: str = "") -> None:
    _check_twice(header)
    unknown = [name for name in header if name not in (*words.columns.names(), *words.ignore_columns)]
    if unknown and not words.ignore_other_columns:
        raise FunneliftError(
            f"nothing says what to do with the column(s) {', '.join(unknown)}; map them in a mapping file "
            f"(--mapping) or list them there under {section}ignore_columns"
        )


def _misfit(headers: list[list[str]], mapping: Mapping | None) -> str:
    words = mapping or RETAILROCKET
    wanted = {
        EVENTS.name + _as_mapped(words.columns, RETAILROCKET.columns): words.columns.names(),
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
    missing = [name for name in wanted[nearest] if name not in header]
    unexpected = [name for name in header if name not in wanted[nearest]]
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
