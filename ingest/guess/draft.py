"""A first mapping of an unknown export, by the names and the texts of its columns."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ingest.field_path import column_of
from ingest.guess.sample import Column, Sample, all_texts
from ingest.guess.times import TimeFormat, clock_format, time_format
from ingest.guess.words import says, step_of
from ingest.mapping import ALIKE_MARKS
from ingest.summary import printable
from warehouse.errors import FunneliftError

MAX_EVENT_NAMES = 200
MAX_IGNORED_COLUMNS = 40
# Names of columns that say less than this count only where the texts say the rest.
_CLEAR = 4
# Names that say as much are right whatever their texts look like.
_CERTAIN = 8
# At least this share of the ids of events are new.
_SENT_ONCE = 0.8
_NUMBER = re.compile(r"\+?\d+(\.\d+)?([eE][+-]?\d+)?")
_THREE_DIGITS = re.compile(r"[1-9]\d{0,2}((\.\d{3})+|(,\d{3})+)")
# How numbers are written: the mark of decimals, that of thousands, and the whole; India parts by two digits.
_WRITTEN = [(".", "", _NUMBER)] + [
    (mark, thousands, re.compile(rf"(\d+|\d{{1,3}}([{alike}]\d{{2,3}})*[{alike}]\d{{3}})([{mark}]\d+)?"))
    for mark, thousands in ((",", "."), (".", ","), (",", " "), (".", " "), (".", "'"), (",", "'"))
    for alike in [ALIKE_MARKS.get(thousands, thousands)]
]


@dataclass
class Draft:
    """What a mapping file shall say, and by key what it says of each guess."""

    content: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)


def draft(sample: Sample) -> Draft:
    """Guess the mapping of a file.

    Parameters
    ----------
    sample : Sample
        Its first records.

    Returns
    -------
    Draft
        The mapping.

    Raises
    ------
    FunneliftError
        No column looks like a time, a visitor or an item.
    """
    return _Guess(sample).draft()


class _Guess:
    """One file's roles: each column has at most one."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.found = Draft({"columns": {}})
        self.taken: set[str] = set()

    def draft(self) -> Draft:
        self._written()
        self._time()
        self._event()
        self._ids()
        self._money()
        self._event_id()
        self._category()
        mapped = [column for column in self.sample.columns if column.name in self.taken]
        if nulls := sorted(all_texts(mapped)):
            self._say("null_values", nulls, "these stand for nothing")
        self._name_header()
        self._ignore_others()
        return self.found

    def _say(self, key: str, value: Any, note: str = "") -> None:
        section, _, inner = key.rpartition(".")
        target = self.found.content[section] if section else self.found.content
        target[inner] = value
        if note:
            self.found.notes[key] = note

    def _column(self, role: str, value: Any, note: str, *columns: Column) -> None:
        self._say(f"columns.{role}", value, note)
        self.taken |= {column.name for column in columns}

    def _written(self) -> None:
        dialect, source = self.sample.dialect, self.sample.source
        if source.encoding != "utf-8":
            self._say("encoding", source.encoding, "it is no UTF-8")
        if source.format == "csv" and dialect.delimiter != ",":
            self._say("delimiter", dialect.delimiter, "as many fields in each line")
        if source.format == "csv" and not dialect.quote:
            self._say("quote", "none", "quotation marks enclose no fields")

    def _time(self) -> None:
        ranked: list[tuple[float, Column, TimeFormat]] = []
        for column in self.sample.columns:
            weight = says("timestamp", column.name)
            # A number is a time only where its name says so, or where there are no names.
            needed = weight or self.sample.header
            found = time_format(column) if needed or not _is_numeric(column) else None
            if found and not (found.name == "%Y%m%d" and not weight):
                rank = (weight + (0 if found.is_number else 2) - (3 if found.is_day else 0)) * self._filled(column)
                ranked.append((rank, column, found))
        if not ranked:
            raise self._missing("time", "timestamp")
        _, column, found = max(ranked, key=lambda each: each[0])
        clocks = [other for other in self.sample.columns if found.is_day and clock_format(other)]
        if clocks:
            clock = clock_format(clocks[0]) or ""
            found = found.beside(clock)
            pattern = f"{found.name} {clock}"
            self._column("timestamp", {"join": [column.name, clocks[0].name]}, "a day and a time of it", *clocks[:1])
        else:
            pattern = found.name
            self._column("timestamp", column.name, f"such as {_shown(column.texts[0])}")
        self.taken.add(column.name)
        if pattern != "typed":
            other = f"; {found.alternative} fits too" if found.alternative else ""
            self._say("time_format", pattern, f"all times of the sample fit{other}")
        if not found.has_zone:
            self._say("time_zone", "UTC", "the times do not say theirs")

    def _event(self) -> None:
        ranked: list[tuple[int, int, Column]] = []
        for column in self._free():
            names = set(column.texts)
            steps = {step for name in names if (step := step_of(name))}
            weight = says("event", column.name)
            if steps and len(names) <= MAX_EVENT_NAMES and (weight or len(steps) > 1 or len(names) == 1):
                ranked.append((len(steps), weight, column))
        if not ranked:
            constant, why = self._constant_event()
            self._say("constant_event", constant, why)
            return
        column = max(ranked, key=lambda each: each[:2])[2]
        counts = Counter(column.texts)
        self._column("event", column.name, "its texts read like steps of a funnel", column)
        steps_by_name = {name: step for name, _ in counts.most_common() if (step := step_of(name))}
        self._say("events", steps_by_name)
        for name in steps_by_name:
            self.found.notes[f"events.{name}"] = f"{counts[name]:,} in the sample"
        missing = {"view", "addtocart", "transaction"} - set(steps_by_name.values())
        if missing:
            self.found.notes["events"] = f"no name reads like {' or '.join(sorted(missing))}"
        if others := [name for name in counts if name not in steps_by_name]:
            self._say("ignore_events", others, "no step of the funnel; see extra_steps in docs/loading.md")

    def _constant_event(self) -> tuple[str, str]:
        if step := step_of(self.sample.source.path.name.split(".")[0]):
            return step, "no column says what happened; the name of the file does"
        if any(says("transaction", column.name) >= 7 for column in self.sample.columns):
            return "transaction", "no column says what happened; there are order ids"
        if any(says("quantity", column.name) >= 7 for column in self.sample.columns):
            return "transaction", "no column says what happened; there are quantities"
        return "view", "no column says what happened"

    def _ids(self) -> None:
        for role, name in (("visitor", "visitor"), ("item", "item")):
            found = self._best(role, _is_named_id(role))
            if not found and self.sample.header:
                found = [column for column in self._free() if _is_id(column)][:1]
            if not found:
                raise self._missing(name, role)
            by = "by its place" if self.sample.header else "by its name"
            self._column(role, _cell(found), by, *found)
        if order := self._best("transaction", _is_named_id("transaction")):
            self._column("transaction", _cell(order), "by its name", *order)
        else:
            self._say("columns.transaction", None, "no column looks like an order id")

    def _money(self) -> None:
        price = self._best("price", _is_price)
        if not price and self.sample.header:
            price = [column for column in self._free() if _has_fractions(column)][:1]
        if not price:
            if odd := self._best("price", lambda column: bool(column.texts)):
                strange = next((text for text in odd[0].texts if not _NUMBER.fullmatch(text)), odd[0].texts[0])
                told = f"{odd[0].name} holds no plain numbers, such as {_shown(strange)}"
                self._say("columns.price", None, f"{told}; write it as numbers")
            self._refunds([])
            return
        texts = [text.removeprefix("-") for column in price for text in _numbers(column)]
        self._column("price", _cell(price), f"such as {_shown(texts[0])}{_told_of_others(price)}", *price)
        self._marks(texts)
        quantity = self._best("quantity", _is_price)
        if quantity:
            self._column("quantity", _cell(quantity), f"by its name{_told_of_others(quantity)}", *quantity)
            if re.search("total|revenue|umsatz", price[0].name.lower()):
                self._say("price_is", "total", "by its name: the price of all units together")
        self._refunds([*price, *quantity])
        if currency := self._best("currency", _is_currency):
            counts = Counter(text.upper() for column in currency for text in column.texts)
            self._column("currency", _cell(currency), "by its name", *currency)
            kept, *others = [name for name, _ in counts.most_common()]
            told = f"; {', '.join(others[:10])} are rejected unless exchange_rates convert them" if others else ""
            self._say("currency", kept, f"the one of most prices{told}")

    def _marks(self, texts: list[str]) -> None:
        """What parts decimals and thousands; a mark before three digits, wherever there is one, can be either."""
        marked = [text for text in texts if not text.isdigit()]
        if marked and all(_THREE_DIGITS.fullmatch(text) for text in marked):
            number, mark = marked[0], marked[0][-4]
            other = "." if mark == "," else ","
            whole, part = number.replace(mark, ""), f"{number[:-4]} and {number[-3:]} thousandths"
            # Prices in whole thousands are rarer than those with a point before decimals, as programs write them.
            is_part = mark == "." and all(text.count(mark) == 1 for text in marked)
            told = f"{number} is {part if is_part else whole} then; if it is {whole if is_part else part}, say "
            if is_part:
                self._say("decimal", ".", f'{told}decimal: "," and thousands: "."')
                return
            self._say("decimal", other, f'{told}decimal: "{mark}" without thousands')
            self._say("thousands", mark, "see decimal")
            return
        written = ((mark, other) for mark, other, number in _WRITTEN if all(map(number.fullmatch, texts)))
        mark, other = next(written, (".", ","))
        if other:
            self._say("decimal", mark, "as prices are written")
            if any(each in text for each in ALIKE_MARKS.get(other, other) for text in texts):
                self._say("thousands", other, "as prices are written")

    def _refunds(self, columns: list[Column]) -> None:
        below = sum(text.startswith("-") for column in columns for text in column.texts)
        if below or "refund" in self.found.content.get("events", {}).values():
            told = f"{below:,} prices or quantities of the sample are below zero; " if below else ""
            self._say("refunds", "net", f"{told}they lower the revenue of their orders; refuse rejects them")

    def _event_id(self) -> None:
        def is_key(column: Column) -> bool:
            # Few records say little of what never comes again. A clear name may: events that were sent again share it.
            count = len(set(column.texts))
            is_clear = says("event_id", column.name) >= _CERTAIN and count > _SENT_ONCE * len(column.texts)
            is_whole = len(column.texts) >= self.sample.record_count and not column.opened
            return is_whole and (count == len(column.texts) or is_clear)

        if found := self._best("event_id", is_key):
            often = len(found[0].texts) - len(set(found[0].texts))
            told = (
                f"{often:,} of the sample come again; the last line counts" if often else "no value twice in the sample"
            )
            self._column("event_id", found[0].name, told, found[0])

    def _category(self) -> None:
        if not (found := self._best("category", lambda column: bool(column.texts))):
            return
        self._column("category", [column.name for column in found], "by its name", *found)
        texts = [text for column in found for text in column.texts]
        for separator in "./>":
            level = rf"[^{separator}\d\s][^{separator}]*"
            pathed = [text for text in texts if re.fullmatch(rf"{level}(\{separator}{level})+", text)]
            if len(pathed) > len(texts) / 2:
                self._say("category_path_separator", separator, f"such as {_shown(pathed[0])}")
                return

    def _best(self, role: str, fits: Callable[[Column], bool]) -> list[Column]:
        """The column of a role, and another that says it where the first is blank."""
        free = [column for column in self._free() if says(role, column.name) >= _CLEAR and fits(column)]
        if opened := self._opened():
            free = [column for column in free if column.opened in ("", opened)]
        ranked = sorted(free, key=lambda column: (-says(role, column.name) * self._filled(column), column.name))
        if role in ("item", "price", "quantity", "currency", "category"):
            # What a list of products says comes before what its record says of one product.
            first = [column for column in ranked if column.opened][:1]
            return first + [column for column in ranked if not column.opened][: 2 - len(first) if first else 1]
        ranked = [column for column in ranked if not column.opened or role in ("transaction", "event_id")]
        return ranked[:2] if role == "visitor" and ranked and self._filled(ranked[0]) < 1 else ranked[:1]

    def _opened(self) -> str:
        """The list that is opened already."""
        return next(
            (column.opened for column in self.sample.columns if column.opened and column.name in self.taken), ""
        )

    def _free(self) -> list[Column]:
        return [column for column in self.sample.columns if column.name not in self.taken and column.texts]

    def _filled(self, column: Column) -> float:
        """The share of records that have the column; an opened list can have many texts a record."""
        return min(len(column.texts) / self.sample.record_count, 1.0)

    def _missing(self, thing: str, role: str) -> FunneliftError:
        found = ", ".join(column.name for column in self.sample.columns[:40]) or "none"
        article = "an" if thing == "item" else "a"
        return FunneliftError(
            f"{self.sample.source.path}: no column looks like {article} {thing}; columns found: {found}. "
            f"Name it in a mapping file by hand (columns.{role}); see docs/loading.md"
        )

    def _name_header(self) -> None:
        if not self.sample.header:
            return
        names = dict.fromkeys(self.sample.header, "")
        columns = self.found.content["columns"]
        for role in [role for role, name in columns.items() if name in names or isinstance(name, list)]:
            name = columns[role][0] if isinstance(columns[role], list) else columns[role]
            names[name] = role
            columns[role] = [role] if isinstance(columns[role], list) else role
        header = [role or name for name, role in names.items()]
        self._say("header", header, "the file has none; the order of the columns says what they are")
        self.taken = {names.get(name) or name for name in self.taken}

    def _ignore_others(self) -> None:
        if self.sample.is_json:
            self._say("ignore_other_columns", True)
            return
        source, dialect = self.sample.source, self.sample.dialect
        header = self.found.content.get("header") or source.header(dialect.delimiter, dialect.quote)
        used = {column_of(name, tuple(header)) for name in self.taken}
        others = [name for name in header if name not in used]
        known = {column.name for column in self.sample.columns} | set(self.found.content.get("header", []))
        if len(others) > MAX_IGNORED_COLUMNS or not known.issuperset(others):
            self._say("ignore_other_columns", True)
        elif others:
            self._say("ignore_columns", others, "nothing needs them")


def _cell(columns: list[Column]) -> Any:
    return columns[0].name if len(columns) == 1 else [column.name for column in columns]


def _shown(text: str) -> str:
    return printable(text[:40])


def _is_numeric(column: Column) -> bool:
    return all(_NUMBER.fullmatch(text) for text in column.texts[:100])


def _is_id(column: Column) -> bool:
    return _is_short(column) and not _has_fractions(column)


def _is_short(column: Column) -> bool:
    return bool(column.texts) and max(map(len, column.texts[:1000])) <= 128


def _is_named_id(role: str) -> Callable[[Column], bool]:
    """Whether a column can be the id of a role; one like 1234567890.1704449999 only where its name leaves no doubt."""
    return lambda column: _is_id(column) or (_is_short(column) and says(role, column.name) >= _CERTAIN)


def _has_fractions(column: Column) -> bool:
    texts = column.texts[:1000]
    return (
        any(float(text) % 1 for text in texts)
        if texts and all(re.fullmatch(r"-?\d{1,15}\.\d+", t) for t in texts)
        else False
    )


def _is_price(column: Column) -> bool:
    """Whether most texts are numbers: a few that are none, such as `on request`, make a column no other one."""
    return 2 * len(_numbers(column)) > len(column.texts)


def _numbers(column: Column) -> list[str]:
    """The texts that are numbers in the way in which most are."""
    found = ([text for text in column.texts if number.fullmatch(text.removeprefix("-"))] for _, _, number in _WRITTEN)
    return max(found, key=len)


def _told_of_others(columns: list[Column]) -> str:
    """What becomes of the texts that are no numbers."""
    numbers = {text for column in columns for text in _numbers(column)}
    others = [text for column in columns for text in column.texts if text not in numbers]
    if not others:
        return ""
    return f"; {len(others):,} of the sample are no numbers, such as {_shown(others[0])}: null_values or rejected"


def _is_currency(column: Column) -> bool:
    return all(re.fullmatch("[A-Za-z]{3}", text) for text in column.texts)
