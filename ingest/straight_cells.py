"""Cells of JSON lines of which no text holds JSON itself: a line is parsed once, into what the mapping names."""

import json
from typing import Any

from ingest.cells import Cells
from ingest.field_path import Found, Step, field_path
from ingest.mapping import Mapping
from ingest.source import Source

# The reason of a record that Cells must read instead.
NOT_STRAIGHT = "not_straight"
# Text that holds an object cannot do without a quotation mark. A list of numbers can.
_MAY_HOLD_TEXT = r"""(CASE WHEN contains(raw, '\') THEN
    contains(raw, '\"') OR contains(raw, '\u0022') OR contains(raw, '\u0000') ELSE false END)"""
# Cells write 1e+16 as 10000000000000000.0. A number begins with a digit or a minus, which come before a colon.
_HAS_EXPONENT = r"""(CASE WHEN {cell} < ':' AND (contains({cell}, 'e+') OR contains({cell}, 'e-'))
    THEN regexp_full_match({cell}, '-?\d(\.\d+)?e[+-]\d+') ELSE false END)"""
FIELDS = f"""
    SELECT line, j, raw,
        CASE
            WHEN problem IS NOT NULL THEN problem
            WHEN NOT is_object AND trim(raw) = '' THEN 'empty_line'
            WHEN NOT is_object THEN if(line = $unterminated, 'truncated_line', 'bad_json')
            WHEN {_MAY_HOLD_TEXT} THEN '{NOT_STRAIGHT}'
            WHEN NOT $others_allowed AND NOT list_has_all($known::VARCHAR[], json_keys(raw)) THEN 'unknown_key'
        END AS structure
    FROM (
        SELECT *, j IS NOT NULL AND starts_with(ltrim(raw, E' \\t\\r'), '{{') AS is_object
        FROM (SELECT *, TRY(from_json(raw, $structure)) AS j FROM block)
    )
"""
_TEXT = "VARCHAR"
# A list that was not opened gives a row without an entry, so that its line is accounted for.
_OPENED = """
    SELECT {carried}, {level}opened{entries},
        unnest(range(1, greatest(CASE {counts} ELSE 0 END, 1) + 1)) AS {level}number
    FROM (SELECT *, CASE {choice} ELSE 0 END AS {level}opened FROM ({records}))
"""


class NotStraightError(Exception):
    """What a mapping names does not fit into one structure, or means more than a structure can."""


class _Structure:
    """What DuckDB is to make of a JSON value: an object with some keys, or a list; in the end a text."""

    def __init__(self) -> None:
        self.keys: dict[str, _Structure] = {}
        self.entry: _Structure | None = None
        self.is_text = False

    def step(self, key: str) -> tuple["_Structure", int]:
        """The value of a key, and which of the keys it is, from 1."""
        # A number is a place in a list too, and DuckDB takes names that differ in case for one.
        if key.isdigit() or any(key != known and key.lower() == known.lower() for known in self.keys):
            raise NotStraightError
        value = self.keys.setdefault(key, _Structure())
        return value, list(self.keys).index(key) + 1

    def as_json(self) -> Any:
        """As from_json takes it."""
        if self.is_text + bool(self.keys) + (self.entry is not None) != 1:
            raise NotStraightError
        if self.is_text:
            return _TEXT
        return [self.entry.as_json()] if self.entry else {key: value.as_json() for key, value in self.keys.items()}


class StraightCells(Cells):
    """Cells of JSON lines as `j`, a structure of the texts and lists that a mapping names.

    Raises
    ------
    NotStraightError
        A cell is none that a structure can hold, or two cells do not fit into one.
    """

    def __init__(self, source: Source, header: tuple[str, ...], mapping: Mapping | None) -> None:
        super().__init__(source, header, mapping)
        self._root = _Structure()
        self._lists: dict[str, None] = {}
        self._inner_lists: dict[str, None] = {}

    @property
    def structure(self) -> str:
        """What `j` is, as DuckDB's from_json takes it."""
        return json.dumps(self._root.as_json())

    @property
    def opens_lists(self) -> bool:
        """See Cells."""
        return bool(self._lists)

    @property
    def opens_inner_lists(self) -> bool:
        """See Cells."""
        return bool(self._inner_lists)

    @property
    def entry_place(self) -> str:
        """See Cells."""
        inner = " || CASE WHEN inner_opened > 0 THEN '/' || inner_number ELSE '' END" if self._inner_lists else ""
        return f"CASE WHEN opened > 0 THEN '/' || number{inner} END"

    def column(self, name: str) -> str:
        """See Cells."""
        return self._keep(self._text_at("j", self._root, (name,)))

    def records(self, fields: str) -> str:
        """See Cells; `fields` has line, structure and j."""
        carried = "line, structure"
        kept = [f"{text} AS {name}" for text, name in self._kept.items()]
        lists = [f"{text} AS list_{place}" for place, text in enumerate(self._lists, 1)]
        fields = f"SELECT {', '.join([carried, 'raw', *kept, *lists])} FROM ({fields})"
        carried = ", ".join([carried, *self._kept.values()])
        if self._lists:
            missing = " OR ".join(f"list_{place} IS NULL" for place in range(1, len(self._lists) + 1))
            may_be_text = f"CASE WHEN {'true' if self._inner_lists else missing} THEN contains(raw, '\"[') END"
            fields = f"SELECT * REPLACE ({_replaced(may_be_text)}) FROM ({fields})"
            fields = _opened(fields, carried, "", len(self._lists))
            carried += ", opened, number"
        if self._inner_lists:
            entries = [f"entry_{place}" for place in range(1, len(self._lists) + 1)]
            inner = [f"{text} AS inner_list_{place}" for place, text in enumerate(self._inner_lists, 1)]
            fields = f"SELECT {', '.join([carried, *entries, *inner])} FROM ({fields})"
            carried = ", ".join([carried, *entries])
            fields = _opened(fields, carried, "inner_", len(self._inner_lists))
            carried += ", inner_opened, inner_number"
        if self._named:
            named = ", ".join(f"{text} AS {name}" for text, name in self._named.items())
            fields = f"SELECT {carried}, {named} FROM ({fields})"
        texts = [*self._kept.values(), *self._named.values()]
        has_exponent = " OR ".join(_HAS_EXPONENT.format(cell=text) for text in texts)
        return f"SELECT * REPLACE ({_replaced(has_exponent)}) FROM ({fields})"

    def _untrimmed(self, name: str) -> str:
        path = field_path(name)
        if path.is_plain:
            return self.column(name)
        if path.opened is not None:
            if not path.steps:
                raise NotStraightError  # a text may hold a list of numbers
            entry, structure = self._entry("j", self._root, path.opened, "")
            if path.inner is not None:
                entry, structure = self._entry(entry, structure, path.inner, "inner_")
            return self._name(self._text_at(entry, structure, path.steps))
        # A key of exactly that name comes before the path.
        whole = self._text_at("j", self._root, (name,))
        straight = [step for step in path.steps if not isinstance(step, Found)]
        place = next((place for place, step in enumerate(path.steps) if isinstance(step, Found)), len(straight))
        text = self._text_at("j", self._root, path.steps[:place])
        if place < len(path.steps):
            text = self._walk(text, path.steps[place:])
        return self._keep(f"coalesce({whole}, {text})")

    def _entry(self, text: str, structure: _Structure, steps: tuple[Step, ...], level: str) -> tuple[str, _Structure]:
        """An entry of a list, and its structure."""
        if ".".join(map(str, steps)) in self._text_lists:
            raise NotStraightError
        text, structure = self._value_at(text, structure, steps)
        structure.entry = structure.entry or _Structure()
        lists = self._inner_lists if level else self._lists
        lists.setdefault(text)
        return f"{level}entry_{list(lists).index(text) + 1}", structure.entry

    def _text_at(self, text: str, structure: _Structure, steps: tuple[Step, ...]) -> str:
        text, structure = self._value_at(text, structure, steps)
        structure.is_text = True
        return text

    @staticmethod
    def _value_at(text: str, structure: _Structure, steps: tuple[Step, ...]) -> tuple[str, _Structure]:
        for step in steps:
            if isinstance(step, Found):
                raise NotStraightError
            structure, place = structure.step(step)
            text = f"struct_extract_at({text}, {place})"
        return text, structure


def _replaced(condition: str) -> str:
    return f"CASE WHEN structure IS NULL AND ({condition}) THEN '{NOT_STRAIGHT}' ELSE structure END AS structure"


def _opened(records: str, carried: str, level: str, count: int) -> str:
    """SQL of one row per entry of the first list that has entries."""
    places = range(1, count + 1)
    return _OPENED.format(
        carried=carried,
        level=level,
        entries="".join(
            f", unnest(CASE WHEN {level}opened = {place} THEN {level}list_{place} END) AS {level}entry_{place}"
            for place in places
        ),
        counts=" ".join(f"WHEN {level}opened = {place} THEN len({level}list_{place})" for place in places),
        choice=" ".join(f"WHEN len({level}list_{place}) > 0 THEN {place}" for place in places),
        records=records,
    )
