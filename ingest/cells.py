"""Cells to SQL: which text of a record a cell is, wherever it is read from.

What a mapping names reaches the SQL as a parameter, never as text.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from ingest.field_path import Found, Step, field_path
from ingest.mapping import Cell, Join, Mapping, cell_names
from ingest.source import Source

# Spaces of any width, and the tab that exports put beside long numbers, so that spreadsheets leave them as they are.
_BLANKS = "\t \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
# Looking for what there could be to trim takes a fifth of the time that trimming every cell does. What begins with a
# blank of one byte comes before any text that does not.
_TRIMMED = (
    "CASE WHEN {cell} < '!' OR {cell} LIKE '% ' OR {cell} LIKE '%\t' OR strlen({cell}) <> length({cell}) "
    f"THEN trim({{cell}}, '{_BLANKS}') ELSE {{cell}} END"
)
# Text inside JSON that holds JSON itself cannot do without these.
_MAY_HOLD_TEXT = r"(contains(raw, '\"') OR contains(raw, '\u0022'))"
# Without entries there is one row all the same, so that its line is accounted for.
_OPENED = """
    SELECT {carried}, {level}opened,
        unnest(if({level}opened > 0, lists[{level}opened], [NULL]::JSON[])) AS {level}entry,
        unnest(range(1, if({level}opened > 0, len(lists[{level}opened]), 1) + 1)) AS {level}number
    FROM (
        SELECT {carried}, lists,
            coalesce(list_position(list_transform(lists, lambda entries: len(entries) > 0), true), 0) AS {level}opened
        FROM (SELECT *, [{lists}]::JSON[][] AS lists FROM ({records}))
    )
"""


class Cells:
    """The cells of a file's records, as SQL over the texts of its columns: `c0`, `c1`, …; of JSON lines `f`, a list.

    Parameters
    ----------
    source : Source
        The file.
    header : tuple of str
        Its columns; for JSON lines, the keys that are known.
    mapping : Mapping or None
        What the cells may be like; None for files that follow the contract.
    is_plain : bool
        Whether every cell is a column of the file, of which no text has spaces around it.
    """

    def __init__(
        self, source: Source, header: tuple[str, ...], mapping: Mapping | None, *, is_plain: bool = False
    ) -> None:
        self.is_plain = is_plain
        self.parameters: dict[str, Any] = {}
        self.pointers: list[str] = []
        self._is_json = source.format == "jsonl"
        self._header = header
        self._columns: dict[int, None] = {}
        self._kept: dict[str, str] = {}
        self._named: dict[str, str] = {}
        self._opened: dict[tuple[Step, ...], None] = {}
        self._inner: dict[tuple[int, tuple[Step, ...]], None] = {}
        self._entry_pointers: dict[str, list[str]] = {}
        self._text_lists = mapping.text_lists if mapping else {}
        self._has_null_values = bool(mapping and mapping.null_values)
        if mapping and mapping.null_values:
            self.parameters["null_values"] = mapping.null_values

    @property
    def entry_place(self) -> str:
        """SQL of the place of a record among those of its line; null where no list was opened."""
        inner = " || CASE WHEN inner_opened > 0 THEN '/' || inner_number ELSE '' END" if self._inner else ""
        return f"CASE WHEN opened > 0 THEN '/' || number{inner} END"

    @property
    def opens_lists(self) -> bool:
        """Whether a record can become several."""
        return bool(self._opened)

    @property
    def opens_inner_lists(self) -> bool:
        """Whether an entry of a list can become several."""
        return bool(self._inner)

    def siblings(self, depth: int) -> str | None:
        """Give the SQL of what entries have in common that stand in one list, of one moment.

        Parameters
        ----------
        depth : int
            How many lists are opened where the time is: an entry with a time of its own is a moment of its own.

        Returns
        -------
        str or None
            SQL of a number, null for a record that is no such entry; None where no record can be one.
        """
        if depth == 0 and self.opens_lists:
            return "CASE WHEN opened > 0 THEN 0 END"
        return "CASE WHEN inner_opened > 0 THEN number END" if depth == 1 and self.opens_inner_lists else None

    def cell(self, cell: Cell | None) -> str:
        """Give a cell's SQL: its text without the spaces around it; '' where there is none."""
        names = cell_names(cell)
        if self.is_plain and len(names) == 1:
            return self._text(names[0])
        texts = [f"nullif({self._text(name)}, '')" for name in names]
        if isinstance(cell, Join):
            between = f" || {self._parameter(cell.between)} || "
            return f"coalesce({between.join(texts)}, '')"
        return f"coalesce({', '.join([*texts, chr(39) * 2])})"

    def column(self, name: str) -> str:
        """Give the SQL of a column's text as it stands."""
        if self._is_json:
            return self._keep(f"f[{self._pointer_place((name,))}]")
        place = self._header.index(name)
        self._columns.setdefault(place)
        return f"c{place}"

    @property
    def columns(self) -> list[int]:
        """The columns of a file that is not of JSON lines, 0-based, whose texts column() has named."""
        return sorted(self._columns)

    def records(self, fields: str) -> str:
        """Give the SQL of the records, made of that of the file's fields.

        Parameters
        ----------
        fields : str
            A query for line, structure and the columns, or, of JSON lines, f and raw.

        Returns
        -------
        str
            A query for these, and for what cell() names.
        """
        lists = ", ".join(self._entries(steps) for steps in self._opened)
        kept = "".join(f", {text} AS {name}" for text, name in self._kept.items())
        # Lists are opened last: what each entry would carry along is copied as often as there are entries.
        fields = f"SELECT *{kept} FROM ({fields})"
        carried = ", ".join(["line, structure", *(f"c{place}" for place in self.columns), *self._kept.values()])
        if self._opened:
            fields = _OPENED.format(carried=carried, level="", lists=lists, records=fields)
            carried += ", opened, entry, number"
        if self._inner:
            lists = ", ".join(
                f"CASE WHEN opened = {place} THEN {self._listed(self._walk('entry', steps))} END"
                for place, steps in self._inner
            )
            fields = _OPENED.format(carried=carried, level="inner_", lists=lists, records=fields)
            carried += ", inner_opened, inner_entry, inner_number"
        for entry, pointers in self._entry_pointers.items():
            self.parameters[f"{entry}_pointers"] = pointers
            texts = f"json_extract_string({entry}, ${entry}_pointers::VARCHAR[]) AS {entry}_texts"
            fields = f"SELECT {carried}, {texts} FROM ({fields})"
            carried += f", {entry}_texts"
        if self._named:
            named = ", ".join(f"{text} AS {name}" for text, name in self._named.items())
            fields = f"SELECT {carried}, {named} FROM ({fields})"
        return fields

    def _text(self, name: str) -> str:
        text = self._untrimmed(name)
        trimmed = text if self.is_plain else _TRIMMED.format(cell=text)
        if self._has_null_values:
            return f"CASE WHEN list_contains($null_values, {trimmed}) THEN '' ELSE {trimmed} END"
        return trimmed

    def _untrimmed(self, name: str) -> str:
        path = field_path(name)
        if name in self._header and not self._is_json:
            return self.column(name)
        if path.is_plain:
            return self.column(name)
        if path.opened is not None:
            self._opened.setdefault(path.opened)
            place, entry = list(self._opened).index(path.opened) + 1, "entry"
            condition = f"opened = {place}"
            if path.inner is not None:
                self._inner.setdefault((place, path.inner))
                entry, condition = "inner_entry", f"inner_opened = {list(self._inner).index((place, path.inner)) + 1}"
            text = self._of_entry(entry, path.steps)
            return self._name(f"CASE WHEN {condition} THEN {text} END")
        if not self._is_json:
            return self._keep(self._walk(self.column(path.root), path.steps[1:]))
        # A key of exactly that name comes before the path.
        whole = f"f[{self._pointer_place((name,))}]"
        straight_steps = tuple(takewhile(lambda step: not isinstance(step, Found), path.steps))
        if len(straight_steps) < len(path.steps):
            found = self._walk(f"f[{self._pointer_place(straight_steps)}]", path.steps[len(straight_steps) :])
            return self._keep(f"coalesce({whole}, {found})")
        straight = f"f[{self._pointer_place(path.steps)}]"
        inside = f"CASE WHEN {_MAY_HOLD_TEXT} THEN {self._walk('raw', path.steps, one_by_one=True)} END"
        return self._keep(f"coalesce({whole}, {straight}, {inside})")

    def _of_entry(self, entry: str, steps: tuple[Step, ...]) -> str:
        """The text at the end of some steps from an entry of a list: all that are straight are read at once."""
        if not steps:
            return f"json_extract_string({entry}, '$')"
        if any(isinstance(step, Found) for step in steps):
            return self._walk(entry, steps)
        wanted = pointer([str(step) for step in steps])
        pointers = self._entry_pointers.setdefault(entry, [])
        if wanted not in pointers:
            pointers.append(wanted)
        return f"{entry}_texts[{pointers.index(wanted) + 1}]"

    def _entries(self, steps: tuple[Step, ...]) -> str:
        if text_list := self._text_lists.get(".".join(map(str, steps))):
            text = self.column(str(steps[0])) if len(steps) == 1 else self._walk("raw", steps)
            split = f"string_split(item, {self._parameter(text_list.fields)})"
            items = f"string_split(nullif({text}, ''), {self._parameter(text_list.entries)})"
            return f"to_json(list_transform({items}, lambda item: {split}))::JSON[]"
        if not self._is_json:
            return self._listed(self._walk(self.column(str(steps[0])), steps[1:]))
        if any(isinstance(step, Found) for step in steps):
            return self._listed(self._walk("raw", steps))
        return self._listed(f"f[{self._pointer_place(steps)}]")

    @staticmethod
    def _listed(text: str) -> str:
        return f"TRY(from_json({text}, '[\"JSON\"]'))"

    def _walk(self, text: str, steps: tuple[Step, ...], one_by_one: bool = False) -> str:
        """The text at the end of some steps from a text that holds JSON."""
        keys: list[str] = []
        for step in steps:
            if isinstance(step, Found):
                listed = self._extract(text, keys) if keys else text
                wanted = f"json_extract_string(item, {self._pointer([step.key])}) = {self._parameter(step.value)}"
                # Looking for a text takes a small part of the time that opening a list does.
                if not keys and step.value[:1].isalpha():
                    held = (
                        f"contains({text}::VARCHAR, {self._parameter(step.value)}) OR contains({text}::VARCHAR, '\\')"
                    )
                    listed = f"CASE WHEN {held} THEN {text} END"
                items = self._listed(listed)
                text, keys = f"list_filter({items}, lambda item: {wanted})[1]", []
            elif one_by_one:
                text = self._extract(text, [step])
            else:
                keys.append(step)
        return self._extract(text, keys) if keys else text

    def _extract(self, text: str, keys: list[str]) -> str:
        return f"TRY(json_extract_string({text}, {self._pointer(keys)}))"

    def _pointer(self, keys: list[str]) -> str:
        return self._parameter(pointer(keys))

    def _parameter(self, value: str) -> str:
        name = next((name for name, known in self.parameters.items() if known == value and name.startswith("p_")), None)
        if name is None:
            name = f"p_{len(self.parameters)}"
            self.parameters[name] = value
        return f"${name}"

    def _keep(self, text: str) -> str:
        """A name for a text of the whole record."""
        return self._kept.setdefault(text, f"k{len(self._kept)}")

    def _name(self, text: str) -> str:
        """A name for a text of an entry."""
        return self._named.setdefault(text, f"n{len(self._named)}")

    def _pointer_place(self, steps: tuple[Step, ...]) -> int:
        wanted = pointer([str(step) for step in steps])
        if wanted not in self.pointers:
            self.pointers.append(wanted)
        return self.pointers.index(wanted) + 1


def pointer(keys: Sequence[str]) -> str:
    """Write a JSON pointer.

    Parameters
    ----------
    keys : sequence of str
        Keys, and places in lists, from the outside to the inside.

    Returns
    -------
    str
        The pointer.

    Examples
    --------
    >>> pointer(["a/b", "0"])
    '/a~1b/0'
    """
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)
