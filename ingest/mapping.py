"""The mapping: how another shop's export says what the raw contract needs."""

import codecs
import hashlib
import json
import re
from collections.abc import Collection
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

import duckdb
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ingest.limits import EVENT_CHARACTERS

CANONICAL_EVENTS = ("view", "addtocart", "transaction")
# Events that are no step of the funnel; a refund is no act of a visitor either.
REMOVAL = "removefromcart"
REFUND = "refund"
NO_STEPS = (REMOVAL, REFUND)
TIME_KEYWORDS = ("epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "iso")
IGNORE = "ignore"
# Marks of thousands that look alike: spaces at which no line breaks, and the apostrophe of word processors.
ALIKE_MARKS = {" ": " \u00a0\u202f\u2009", "'": "'\u2019"}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _one_character(value: str) -> str:
    if len(value) != 1 or value in '"\r\n\0':
        raise ValueError('must be one character, and neither a quote nor a line end (a tab is "\\t")')
    return value


def _quote(value: str) -> str:
    if value == "none":
        return ""
    if len(value) != 1 or value in "\r\n\0" or not value.isascii():
        raise ValueError("must be one character, or none where a quotation mark is a character as any other")
    return value


def _known_zone(value: str) -> str:
    if not _one("SELECT count(*) FROM pg_timezone_names() WHERE name = ?", value):
        raise ValueError(f"unknown time zone {value!r}; use an IANA name such as UTC or Europe/Berlin")
    return value


def _known_encoding(value: str) -> str:
    try:
        name = codecs.lookup(value).name
        "\n".encode(name)
    except (LookupError, UnicodeError, ValueError) as error:
        raise ValueError(f"unknown encoding {value!r}; use a name such as utf-8, latin-1 or windows-1252") from error
    return name


def _number(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _rate(value: str) -> str:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value) or not Decimal(value):
        raise ValueError(f"{value!r} is no rate: a number above 0 with up to nine digits before and after the point")
    return value


def _is_regex(value: str) -> str:
    try:
        _one("SELECT regexp_matches('', ?)", value)
    except duckdb.Error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return value


def has_zone(time_pattern: str) -> bool:
    """Tell whether a time pattern reads a zone.

    Parameters
    ----------
    time_pattern : str
        A strptime pattern.

    Returns
    -------
    bool
        True if `%z` or `%Z` is in it.
    """
    return re.search(r"%[zZ]", time_pattern.replace("%%", "")) is not None


def _check_once(columns: list[str]) -> None:
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(f"columns: {', '.join(twice)} named more than once (ignore_columns counts too)")


def _check_time(time_format: str, time_zone: str | None, is_said: bool) -> None:
    if time_format in TIME_KEYWORDS:
        if time_zone and is_said and time_format != "iso":
            raise ValueError(f"time_zone: cannot apply, because {time_format} counts from a moment in UTC; remove it")
        return
    if "%" not in time_format:
        raise ValueError(f"time_format: {time_format!r} is none of {', '.join(TIME_KEYWORDS)} and no % pattern")
    try:
        _one("SELECT try_strptime('', ?)", time_format)
    except duckdb.Error as error:
        raise ValueError(f"time_format: {error}") from error
    if has_zone(time_format) and time_zone:
        raise ValueError("time_zone: cannot apply, because time_format reads the zone of each time; remove it")
    if not time_zone and not has_zone(time_format):
        raise ValueError("time_zone: needed, because time_format has neither %z nor %Z (say UTC if it is UTC)")


Name = Annotated[str, Field(min_length=1)]
Delimiter = Annotated[str, AfterValidator(_one_character)]
TimeZone = Annotated[Name, AfterValidator(_known_zone)]
ClockChange = Literal["reject", "before", "after"]
Rate = Annotated[str, BeforeValidator(_number), AfterValidator(_rate)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Join(_Model):
    """A value that several columns make up; where one of them is blank, so is the whole."""

    join: Annotated[list[Name], Field(min_length=2)]
    between: str = " "


# One column or path, several of which the first that is not blank counts, or several joined.
Cell = Name | Annotated[list[Name], Field(min_length=1)] | Join


def cell_names(cell: Cell | None) -> list[str]:
    """List the columns and paths of a cell; none where the source does not have it."""
    if cell is None or isinstance(cell, str):
        return [] if cell is None else [cell]
    return list(cell.join if isinstance(cell, Join) else cell)


class Columns(_Model):
    """Which column of the export holds what."""

    timestamp: Cell
    visitor: Cell
    event: Cell | None = None
    item: Cell
    transaction: Cell | None = None
    price: Cell | None = None
    category: Annotated[list[Name] | Join, BeforeValidator(_listed)] = []
    event_id: Cell | None = None
    quantity: Cell | None = None
    currency: Cell | None = None
    elapsed_ms: Cell | None = None

    def cells(self) -> dict[str, Cell]:
        """List what is mapped, in the order of the fields."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: cell for name, cell in found.items() if cell}

    def names(self) -> list[str]:
        """List the mapped columns and paths of the export.

        Returns
        -------
        list of str
            In the order of the fields, unset ones left out.
        """
        return [name for cell in self.cells().values() for name in cell_names(cell)]


class Condition(_Model):
    """What a rule wants of a column."""

    regex: Annotated[Name, AfterValidator(_is_regex)] | None = None
    blank: bool | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.regex is None) == (self.blank is None):
            raise ValueError("say regex or blank, one of both")
        return self


class EventRule(_Model):
    """What an event is where columns say what the rule wants; `step` is ignore where it is none."""

    step: Name
    when: Annotated[dict[Name, str | list[str] | Condition], Field(min_length=1)]


OPTIONAL_ASSIGNMENT_CELLS = ("stratum", "propensity", "offer")
LONGEST_OFFER = 64  # as the tables of results hold it


class AssignmentColumns(_Model):
    """Which column of an experiment's export holds what."""

    visitor: Name = "visitorid"
    assigned_at: Name = "assigned_at"
    treatment: Name = "treatment"
    stratum: Name | None = None
    propensity: Name | None = None
    offer: Name | None = None

    def names(self) -> list[str]:
        """List the mapped columns of the export.

        Returns
        -------
        list of str
            Column names in the order of the fields, unset ones left out.
        """
        return [name for name in self.model_dump().values() if name is not None]


class Assignments(_Model):
    """An experiment's export in the words of the raw contract; what is left out is as in the contract."""

    columns: AssignmentColumns = AssignmentColumns()
    arms: dict[Name, Literal["treatment", "control", "offer"]] = {
        "treatment": "treatment",
        "control": "control",
        "1": "treatment",
        "0": "control",
    }
    ignore_arms: list[Name] = []
    time_format: Name = "epoch_ms"
    time_zone: TimeZone | None = None
    ignore_columns: list[Name] = []
    ignore_other_columns: bool = False
    delimiter: Delimiter = ","

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        _check_once(self.columns.names() + self.ignore_columns)
        named = [arm.lower() for arm in (*self.arms, *self.ignore_arms)]
        if twice := sorted({arm for arm in named if named.count(arm) > 1}):
            raise ValueError(
                f"arms: {', '.join(twice)} named more than once (case is no difference; ignore_arms counts too)"
            )
        kinds = set(self.arms.values())
        if {"treatment", "offer"} <= kinds:
            raise ValueError("arms: say treatment where there is one, offer of each where there are several")
        if missing := {"treatment", "control"} - {"treatment" if kind == "offer" else kind for kind in kinds}:
            raise ValueError(f"arms: none is the {missing.pop()}; an experiment has one of each")
        if long := [arm for arm in self.offers if arm is not None and len(arm) > LONGEST_OFFER]:
            raise ValueError(f"arms: {long[0]} is longer than {LONGEST_OFFER} characters")
        _check_time(self.time_format, self.time_zone, "time_format" in self.model_fields_set)
        return self

    @property
    def offers(self) -> list[Name | None]:
        """What is kept of the name of each arm: that of an offer, where there are several."""
        return [arm if kind == "offer" else None for arm, kind in self.arms.items()]

    def cells(self, header: Collection[str]) -> dict[str, Name]:
        """Say where the cells of an assignment are.

        Parameters
        ----------
        header : collection of str
            Columns of the export.

        Returns
        -------
        dict
            Cell to column; stratum, propensity and offer where the mapping names them, or the export calls a column so.
        """
        columns = self.columns
        found = {"visitorid": columns.visitor, "assigned_at": columns.assigned_at, "treatment": columns.treatment}
        for cell in OPTIONAL_ASSIGNMENT_CELLS:
            named = getattr(columns, cell)
            is_called_so = cell in header and cell not in (*columns.names(), *self.ignore_columns)
            if named is not None or is_called_so:
                found[cell] = named or cell
        return found

    def fingerprint(self) -> str:
        """Hash what the mapping means, so that a changed comment is no change.

        Returns
        -------
        str
            SHA-256, hexadecimal.
        """
        # Columns that came later count where they are named, so that what was loaded before stays loaded.
        unset = {cell for cell in OPTIONAL_ASSIGNMENT_CELLS if getattr(self.columns, cell) is None}
        return hashlib.sha256(self.model_dump_json(exclude={"columns": unset}).encode()).hexdigest()


class TextList(_Model):
    """How a text holds a list: what parts its entries, and what the fields of an entry."""

    entries: Annotated[str, Field(min_length=1)] = ","
    fields: Annotated[str, Field(min_length=1)] = ";"


class Mapping(_Model):
    """One shop's event export in the words of the raw contract, and its experiment's where that is another."""

    columns: Columns
    time_format: Name = "epoch_ms"
    time_zone: TimeZone | None = None
    events: dict[Name, Name] = {}
    extra_steps: list[Name] = []
    ignore_events: list[Name] = []
    ignore_other_events: bool = False
    ignore_columns: list[Name] = []
    ignore_other_columns: bool = False
    delimiter: Delimiter = ","
    category_path_separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    assignments: Assignments = Assignments()
    match: Name = "*"
    header: Annotated[list[Name], Field(min_length=1)] | None = None
    constant_event: Name | None = None
    event_rules: list[EventRule] = []
    null_values: list[str] = []
    quote: Annotated[str, AfterValidator(_quote)] = '"'
    encoding: Annotated[Name, AfterValidator(_known_encoding)] = "utf-8"
    decimal: Literal[".", ","] = "."
    thousands: Literal[".", ",", " ", "'"] | None = None
    clock_change: ClockChange = "reject"
    price_is: Literal["unit", "total"] = "unit"
    currency: Annotated[str, Field(pattern="^[A-Za-z]{3}$")] | None = None
    exchange_rates: dict[Name, Rate] = {}
    text_lists: dict[Name, TextList] = {}
    refunds: Literal["net", "refuse"] = "refuse"

    @field_validator("extra_steps")
    @classmethod
    def _step_names(cls, value: list[str]) -> list[str]:
        for step in value:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", step) or step in (*CANONICAL_EVENTS, *NO_STEPS, IGNORE):
                raise ValueError(f"{step!r} must be a new name in lower case letters, digits and underscores")
            if len(step) > EVENT_CHARACTERS:
                raise ValueError(f"{step!r} is longer than {EVENT_CHARACTERS} characters")
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        _check_once(self.columns.names() + self.ignore_columns)
        self._check_events()
        self._check_money()
        if self.header and len(set(self.header)) < len(self.header):
            raise ValueError("header: a column named more than once")
        if self.quote and self.quote == self.delimiter:
            raise ValueError("quote: is the delimiter too")
        if self.category_path_separator and not self.columns.category:
            raise ValueError("category_path_separator: needs columns.category")
        _check_time(self.time_format, self.time_zone, "time_format" in self.model_fields_set)
        return self

    def _check_events(self) -> None:
        steps = (*CANONICAL_EVENTS, *NO_STEPS, *self.extra_steps)
        said = {f"events.{source}": target for source, target in self.events.items()}
        said |= {f"event_rules.{place}.step": rule.step for place, rule in enumerate(self.event_rules)}
        said |= {"constant_event": self.constant_event} if self.constant_event else {}
        for key, target in said.items():
            if target not in steps and not (target == IGNORE and key.startswith("event_rules")):
                raise ValueError(f"{key}: {target!r} is none of {', '.join(steps)}; declare a new step in extra_steps")
        if both := sorted(set(self.events) & set(self.ignore_events)):
            raise ValueError(f"ignore_events: {', '.join(both)} also stands in events")
        if self.constant_event and (self.events or self.event_rules or self.columns.event):
            raise ValueError(
                "constant_event: says already what every line is; remove events, event_rules, columns.event"
            )
        if self.events and not self.columns.event:
            raise ValueError("columns.event: missing; or say constant_event or event_rules instead of events")
        if not said:
            raise ValueError("events: missing (or constant_event, or event_rules)")

    def _check_money(self) -> None:
        columns = self.columns
        if self.thousands == self.decimal:
            raise ValueError("thousands: is the decimal mark too")
        if self.price_is == "total" and not columns.quantity:
            raise ValueError("price_is: total needs columns.quantity")
        if (columns.currency or self.exchange_rates) and not self.currency:
            raise ValueError(
                "currency: missing; it says which currency the prices in the warehouse are of, such as EUR"
            )
        if self.currency and not columns.currency:
            raise ValueError("columns.currency: missing; currency needs it")
        rates = {name: name.upper() for name, rate in self.exchange_rates.items() if Decimal(rate) != 1}
        named = [*rates.values(), (self.currency or "").upper()]
        if twice := [name for name, upper in rates.items() if named.count(upper) > 1]:
            raise ValueError(
                f"exchange_rates: {twice[0]} stands twice, or is the currency that is kept; case is no difference"
            )
        if (columns.quantity or columns.currency) and not columns.price:
            raise ValueError("columns.price: missing; quantity and currency need it")

    @property
    def _called(self) -> set[str | None]:
        return {*self.events.values(), *(rule.step for rule in self.event_rules), self.constant_event}

    @property
    def has_refunds(self) -> bool:
        """Whether the mapping calls an event a refund."""
        return REFUND in self._called

    @property
    def may_refund(self) -> bool:
        """Whether a line can take a purchase back: by what it is called, or by a price or a quantity below zero."""
        return self.has_refunds or ("transaction" in self._called and self.columns.price is not None)

    def fingerprint(self) -> str:
        """Hash what the mapping means for events, so that a changed comment is no change.

        Returns
        -------
        str
            SHA-256, hexadecimal.
        """
        # What an older version did not know and is not used must not make its files look read in another way.
        meaning = self.model_dump(mode="json", exclude={"assignments", "match"})
        fields = type(self).model_fields
        meaning = {key: value for key, value in meaning.items() if key not in _NEW or value != fields[key].default}
        columns = meaning["columns"]
        meaning["columns"] = {
            key: value for key, value in columns.items() if key not in _NEW_COLUMNS or value is not None
        }
        return hashlib.sha256(json.dumps(meaning, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


_NEW = set(list(Mapping.model_fields)[list(Mapping.model_fields).index("match") :])
_NEW_COLUMNS = {"event_id", "quantity", "currency", "elapsed_ms"}

RETAILROCKET = Mapping(
    columns=Columns(
        timestamp="timestamp", visitor="visitorid", event="event", item="itemid", transaction="transactionid"
    ),
    events={name: name for name in CANONICAL_EVENTS},
)


def _one(query: str, value: str) -> Any:
    with duckdb.connect() as connection:
        row = connection.execute(query, [value]).fetchone()
    return row[0] if row else None
