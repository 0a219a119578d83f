"""Read the measures from `bi/measures/*.yml`, and say what is wrong with them in the words of their writer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bi.measures.model import ALL_PAGES, PAGES, Measure, MeasureError, Unit
from bi.tables import known_columns, power_bi_names
from warehouse.yaml_files import read_yaml

FOLDER = Path(__file__).resolve().parent
TERM = re.compile(r"\{(\w+)\}")
COLUMN_OF_TABLE = re.compile(r"@\[(\w+)\]")
# How a kind of measure is written in SQL and DAX; `@` in the DAX is the measure's table.
KINDS: dict[str, tuple[str, str]] = {
    "sql": ("{sql}", "{dax}"),
    "count": ("count(*)", "COUNTROWS(@)"),
    "sum": ("sum({column})", "SUM(@[{column}])"),
    "mean": ("avg({column})", "AVERAGE(@[{column}])"),
    "median": ("median({column})", "MEDIAN(@[{column}])"),
    "max": ("max({column})", "MAX(@[{column}])"),
    # A figure that ml worked out for one row: it is shown for one row at a time and never added up.
    "single": ("case when count(*) = 1 then max({column}) end", "IF(COUNTROWS(@) = 1, MAX(@[{column}]))"),
    # As a double, null where the divisor is null or 0; `1e0` is a double on every engine.
    "ratio": ("1e0 * {dividend} / nullif({divisor}, 0)", "{dax}"),
}
OWN_KEYS = ("column", "sql", "dax", "dividend", "divisor")
# What may stand between quotes in SQL and in DAX.
PLAIN = re.compile(r"[\w .-]*")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Entry(_Strict):
    name: str = Field(pattern=r"^[^\[\]]+$")
    description: str
    unit: Unit
    kind: Literal["sql", "count", "sum", "mean", "median", "max", "single", "ratio"] = "sql"
    table: str = ""
    column: str = ""
    bounds: tuple[str, str] | None = None
    dividend: str = ""
    divisor: str = ""
    sql: str = ""
    dax: str = ""
    only: dict[str, int | str] = {}
    top: str = ""
    top_order: str = ""


class _Group(_Strict):
    folder: str
    table: str
    only: dict[str, int | str] = {}
    where: str = ""
    measures: list[_Entry]


class _Page(_Strict):
    page: Literal["Funnel Overview", "Risk Segments", "Intervention Strategy", "ROI Projection", "All pages"]
    terms: dict[str, str] = {}
    groups: list[_Group]


@cache
def all_measures() -> tuple[Measure, ...]:
    """Read all measures of the project once.

    Returns
    -------
    tuple of Measure
        Those of every page first, then page by page.

    Raises
    ------
    MeasureError
        See read_measures.
    """
    return read_measures(FOLDER)


@cache
def page_measures() -> tuple[Measure, ...]:
    """List the measures of the four pages.

    Returns
    -------
    tuple of Measure
        All but those that stand on every page.

    Raises
    ------
    MeasureError
        See read_measures.
    """
    return tuple(measure for measure in all_measures() if measure.page in PAGES)


def read_measures(folder: Path) -> tuple[Measure, ...]:
    """Read and check the measures of a folder.

    Parameters
    ----------
    folder : Path
        Folder with one yml file for each page, or several.

    Returns
    -------
    tuple of Measure
        Those of every page first, then page by page, else as they stand in the files.

    Raises
    ------
    MeasureError
        When a file is not as docs/powerbi.md says; it names file, measure, key and what to do.
    """
    found: dict[str, Measure] = {}
    for path in sorted(folder.glob("*.yml")):
        for measure in _of_file(path):
            if found.setdefault(measure.name.lower(), measure) is not measure:
                raise MeasureError(
                    f"{path.name}: measure {measure.name!r}: name: another measure is called so, and Power BI does not "
                    "tell upper from lower case; choose another name"
                )
    pages = (ALL_PAGES, *PAGES)
    return tuple(sorted(found.values(), key=lambda measure: pages.index(measure.page)))


def _of_file(path: Path) -> list[Measure]:
    content: Any = None
    try:
        content = read_yaml(path)
        page = _Page.model_validate(content)
    except yaml.YAMLError as error:
        raise MeasureError(f"{path.name}: no valid YAML: {error}") from error
    except ValidationError as error:
        raise MeasureError("\n".join(_explained(path, content, each) for each in error.errors())) from error
    return [
        measure
        for group in page.groups
        for entry in group.measures
        for measure in _Reading(path.name, page, group, entry).measures()
    ]


@dataclass(frozen=True)
class _Reading:
    """One entry of a file on its way to a measure, or to three if it has bounds."""

    file: str
    page: _Page
    group: _Group
    entry: _Entry
    only: Mapping[str, str | int] = field(init=False)
    table: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "only", self.group.only | self.entry.only)
        object.__setattr__(self, "table", self.entry.table or self.group.table)

    def measures(self) -> list[Measure]:
        entry = self.entry
        self._check_keys()
        self._check_columns()
        measure = self._measure(entry.name, self._put("description", entry.description), entry.column)
        if entry.bounds is None:
            return [measure]
        ends = zip(("lower", "upper"), entry.bounds, strict=True)
        return [
            measure,
            *(
                self._measure(
                    f"{entry.name} {end}", f"{end.capitalize()} end of the 95 % interval of {entry.name}.", column
                )
                for end, column in ends
            ),
        ]

    def _measure(self, name: str, description: str, column: str) -> Measure:
        entry = self.entry
        given = {key: self._put(key, getattr(entry, key)) for key in OWN_KEYS} | {"column": column}
        sql, dax = (template.format(**given) for template in KINDS[entry.kind])
        filters = [f"KEEPFILTERS(@[{of}] = {_literal(value, chr(34))})" for of, value in self.only.items()]
        whole = f"CALCULATE({', '.join([dax, *filters])})" if filters else dax
        return Measure(
            name=name,
            page=self.page.page,
            folder=self.group.folder,
            description=description,
            table=self.table,
            sql=sql,
            dax=whole.replace("@", f"'{power_bi_names()[self.table]}'"),
            unit=entry.unit,
            where=self.group.where
            or " and ".join(f"{of} = {_literal(value, chr(39))}" for of, value in self.only.items()),
            top=entry.top,
            top_order=entry.top_order,
        )

    def _put(self, key: str, text: str) -> str:
        """Put the file's terms in the place of their names."""

        def replaced(match: re.Match[str]) -> str:
            if match[1] not in self.page.terms:
                self._fail(key, f"there is no term {match[1]!r} under terms: {_listed(self.page.terms)}")
            return self._put(key, self.page.terms[match[1]])

        return TERM.sub(replaced, text)

    def _check_keys(self) -> None:
        entry, needed = self.entry, set(TERM.findall("".join(KINDS[self.entry.kind])))
        for key in OWN_KEYS:
            if key in needed and not getattr(entry, key):
                self._fail(key, f"missing; a measure of kind {entry.kind} needs {_listed(sorted(needed))}")
            if key not in needed and getattr(entry, key):
                self._fail(key, f"a measure of kind {entry.kind} takes none; leave it out or choose another kind")
        if not self._put("description", entry.description).endswith("."):
            self._fail("description", "must be a sentence; end it with a full stop")
        if entry.bounds and entry.kind != "single":
            self._fail("bounds", "only a measure of kind single has bounds; leave them out")
        if bool(entry.top) != bool(entry.top_order):
            self._fail("top", "top and top_order go together; give both or none")
        for column, value in self.only.items():
            if isinstance(value, str) and not PLAIN.fullmatch(value):
                self._fail("only", f"{column} cannot be {value!r}; use letters, digits, spaces, dots and hyphens")
        if self.group.where and self.only:
            self._fail("only", "its group has a where, which says it all; put the measure into a group without one")

    def _check_columns(self) -> None:
        entry, tables = self.entry, power_bi_names()
        if self.table not in tables:
            self._fail("table", f"there is no table {self.table!r}; there are {_listed(tables)}")
        named = {
            "column": [entry.column] if entry.column else [],
            "bounds": entry.bounds or (),
            "only": tuple(self.only),
            "top": [column for column in (entry.top, entry.top_order) if column],
            "dax": COLUMN_OF_TABLE.findall(self._put("dax", entry.dax)),
        }
        known = known_columns()[self.table]
        for key, columns in named.items():
            for column in columns:
                if column not in known:
                    self._fail(key, f"{self.table} has no column {column!r}; it has {_listed(known)}")

    def _fail(self, key: str, message: str) -> NoReturn:
        raise MeasureError(f"{self.file}: measure {self.entry.name!r}: {key}: {message}")


def _literal(value: str | int, quote: str) -> str:
    return str(value) if isinstance(value, int) else f"{quote}{value}{quote}"


def _listed(names: Mapping[str, Any] | Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _explained(path: Path, content: Any, error: Any) -> str:
    """Name the measure and the key that pydantic names by their places."""
    place = [path.name]
    keys = list(error["loc"])
    for list_key, what, name_key in (("groups", "group", "folder"), ("measures", "measure", "name")):
        if keys[:1] == [list_key] and len(keys) > 1:
            content = content[list_key][keys[1]]
            name = content.get(name_key) if isinstance(content, dict) else None
            place.append(f"{what} {name!r}" if name else f"{what} number {keys[1] + 1}")
            keys = keys[2:]
    # The name of the measure says enough.
    place = [place[0], *place[-1:]] if len(place) > 1 else place
    message = {
        "extra_forbidden": "unknown key; docs/powerbi.md lists those there are",
        "missing": "missing; add it",
    }.get(error["type"], error["msg"])
    if error["type"] == "string_pattern_mismatch":
        message = f"{error['input']!r} is no name; leave out square brackets"
    return ": ".join([*place, *(str(key) for key in keys[:1]), message])
