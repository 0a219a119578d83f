"""The mapping file: how another shop's export says what the raw contract needs."""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import duckdb
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ingest.limits import EVENT_CHARACTERS
from warehouse.errors import UsageError

CANONICAL_EVENTS = ("view", "addtocart", "transaction")
TIME_KEYWORDS = ("epoch_s", "epoch_ms", "epoch_us", "iso")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _one_character(value: str) -> str:
    if len(value) != 1 or value in '"\r\n\0':
        raise ValueError('must be one character, and neither a quote nor a line end (a tab is "\\t")')
    return value


def _known_zone(value: str) -> str:
    if not _one("SELECT count(*) FROM pg_timezone_names() WHERE name = ?", value):
        raise ValueError(f"unknown time zone {value!r}; use an IANA name such as UTC or Europe/Berlin")
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


def _check_time(time_format: str, time_zone: str | None) -> None:
    if time_format in TIME_KEYWORDS:
        return
    if "%" not in time_format:
        raise ValueError(f"time_format: {time_format!r} is none of {', '.join(TIME_KEYWORDS)} and no % pattern")
    try:
        _one("SELECT try_strptime('', ?)", time_format)
    except duckdb.Error as error:
        raise ValueError(f"time_format: {error}") from error
    if not time_zone and not has_zone(time_format):
        raise ValueError("time_zone: needed, because time_format has neither %z nor %Z (say UTC if it is UTC)")


Name = Annotated[str, Field(min_length=1)]
Delimiter = Annotated[str, AfterValidator(_one_character)]
TimeZone = Annotated[Name, AfterValidator(_known_zone)]


class Columns(BaseModel):
    """Which column of the export holds what."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    timestamp: Name
    visitor: Name
    event: Name
    item: Name
    transaction: Name | None = None
    price: Name | None = None
    category: Annotated[list[Name], BeforeValidator(_listed)] = []
    event_id: Name | None = None

    def names(self) -> list[str]:
        """List the mapped columns of the export.

        Returns
        -------
        list of str
            Column names in the order of the fields, unset ones left out.
        """
        single = (self.timestamp, self.visitor, self.event, self.item, self.transaction, self.price)
        return [name for name in (*single, *self.category, self.event_id) if name is not None]


class AssignmentColumns(BaseModel):
    """Which column of an experiment's export holds what."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    visitor: Name = "visitorid"
    assigned_at: Name = "assigned_at"
    treatment: Name = "treatment"

    def names(self) -> list[str]:
        """List the mapped columns of the export.

        Returns
        -------
        list of str
            Column names in the order of the fields.
        """
        return [self.visitor, self.assigned_at, self.treatment]


class Assignments(BaseModel):
    """An experiment's export in the words of the raw contract; what is left out is as in the contract."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    columns: AssignmentColumns = AssignmentColumns()
    arms: dict[Name, Literal["treatment", "control"]] = {
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
        if missing := {"treatment", "control"} - set(self.arms.values()):
            raise ValueError(f"arms: none is the {missing.pop()}; an experiment has one of each")
        _check_time(self.time_format, self.time_zone)
        return self

    def fingerprint(self) -> str:
        """Hash what the mapping means, so that a changed comment is no change.

        Returns
        -------
        str
            SHA-256, hexadecimal.
        """
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Mapping(BaseModel):
    """One shop's event export in the words of the raw contract, and its experiment's where that is another."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    columns: Columns
    time_format: Name = "epoch_ms"
    time_zone: TimeZone | None = None
    events: Annotated[dict[Name, Name], Field(min_length=1)]
    extra_steps: list[Name] = []
    ignore_events: list[Name] = []
    ignore_other_events: bool = False
    ignore_columns: list[Name] = []
    ignore_other_columns: bool = False
    delimiter: Delimiter = ","
    category_path_separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    assignments: Assignments = Assignments()

    @field_validator("extra_steps")
    @classmethod
    def _step_names(cls, value: list[str]) -> list[str]:
        for step in value:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", step) or step in CANONICAL_EVENTS:
                raise ValueError(f"{step!r} must be a new name in lower case letters, digits and underscores")
            if len(step) > EVENT_CHARACTERS:
                raise ValueError(f"{step!r} is longer than {EVENT_CHARACTERS} characters")
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        _check_once(self.columns.names() + self.ignore_columns)
        steps = (*CANONICAL_EVENTS, *self.extra_steps)
        for source, target in self.events.items():
            if target not in steps:
                raise ValueError(
                    f"events.{source}: {target!r} is none of {', '.join(steps)}; declare a new step in extra_steps"
                )
        if both := sorted(set(self.events) & set(self.ignore_events)):
            raise ValueError(f"ignore_events: {', '.join(both)} also stands in events")
        if self.category_path_separator and not self.columns.category:
            raise ValueError("category_path_separator: needs columns.category")
        _check_time(self.time_format, self.time_zone)
        return self

    def fingerprint(self) -> str:
        """Hash what the mapping means for events, so that a changed comment is no change.

        Returns
        -------
        str
            SHA-256, hexadecimal.
        """
        # What an older version did not know and is not used must not make its files look read in another way.
        unused = {"event_id"} if self.columns.event_id is None else set()
        meaning = self.model_dump_json(exclude={"assignments": True, "columns": unused})
        return hashlib.sha256(meaning.encode()).hexdigest()


RETAILROCKET = Mapping(
    columns=Columns(
        timestamp="timestamp", visitor="visitorid", event="event", item="itemid", transaction="transactionid"
    ),
    events={name: name for name in CANONICAL_EVENTS},
)


def read_mapping(path: Path) -> Mapping:
    """Read and check a mapping file.

    Parameters
    ----------
    path : Path
        YAML file.

    Returns
    -------
    Mapping
        The checked mapping.

    Raises
    ------
    UsageError
        The file is missing or not YAML, or a key is unknown, missing or has a bad value; the message names both.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_UniqueKeys)
    except OSError as error:
        raise UsageError(f"{path}: cannot read the mapping file: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable YAML file: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected keys such as columns and events, found {type(content).__name__}")
    if "assignments" in content and not content.keys() & {"columns", "events"}:
        # A shop may have an export of its own for the experiment only.
        content = RETAILROCKET.model_dump(include={"columns", "events"}) | content
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        raise UsageError("\n".join(f"{path}: {_explain(detail)}" for detail in error.errors())) from error


def _explain(detail: Any) -> str:
    *parents, last = detail["loc"] or ("",)
    # For a key of the wrong type pydantic gives its own idea of the key, then this mark.
    key = ".".join(map(str, [*parents[:-1], detail["input"]] if last == "[key]" else [*parents, last]))
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if detail["type"] == "missing":
        return f"{key}: missing"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "string_type":
        message = f"must be text, found {detail['input']!r}; put it in quotes"
    return f"{key}: {message}" if key else message


def _one(query: str, value: str) -> Any:
    with duckdb.connect() as connection:
        row = connection.execute(query, [value]).fetchone()
    return row[0] if row else None


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets the last of two equal keys win without a word; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build one YAML mapping, refusing a key that stands twice."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
