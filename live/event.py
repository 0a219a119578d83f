"""An event as the shop sends it: what is not a good one is refused, and the answer names the field."""

import hashlib
import json
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, TypeAdapter, ValidationError

from ingest.limits import ID_CHARACTERS
from ingest.validate import OLDEST_MS

# How far a sender's clock may be ahead.
AHEAD_MS = 300_000
MOST_EVENTS = 1000


def _plain(text: str) -> str:
    """Refuse what a file of the log could not give back as it was."""
    if text != text.strip() or any(character < " " or character == "\x7f" for character in text):
        raise ValueError("must have no control characters, and no spaces around it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can write") from None
    return text


Id = Annotated[str, Field(min_length=1, max_length=ID_CHARACTERS), AfterValidator(_plain)]
Amount = Annotated[Decimal, Field(ge=0, lt=10**10, decimal_places=4, allow_inf_nan=False)]


class Event(BaseModel):
    """One event. Without a timestamp it is of now; without an event_id it is known by all that it says."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"visitorid": "v-1001", "event": "view", "itemid": "sku-7", "event_id": "5b1e"},
                {"visitorid": "v-1001", "event": "addtocart", "itemid": "sku-7", "price": 19.9, "quantity": 2},
            ]
        },
    )

    visitorid: Id
    event: Id
    itemid: Id
    timestamp: Annotated[int, Field(strict=True, ge=OLDEST_MS)] | None = None
    transactionid: Id | None = None
    price: Amount | None = None
    categoryid: Id | None = None
    quantity: Annotated[Amount, Field(gt=0)] | None = None
    event_id: Id | None = None
    # Whether the sender gave no timestamp, so that it is the moment of arrival.
    _is_stamped: bool = PrivateAttr(default=False)

    def line(self) -> dict[str, Any]:
        """The event as the log has it: numbers as written, what is not given left out."""
        found = self.model_dump(exclude_none=True)
        return {name: format(value, "f") if isinstance(value, Decimal) else value for name, value in found.items()}

    def key(self) -> str:
        """What tells it from every other event: its id, else all that it says."""
        if self.event_id is not None:
            return f"id:{self.event_id}"
        said = json.dumps(_comparable(self), sort_keys=True)
        return f"is:{hashlib.blake2b(said.encode(), digest_size=16).hexdigest()}"

    def stamped(self, now_ms: int) -> "Event":
        """The event with a timestamp, the moment of arrival where the sender gave none."""
        if self.timestamp is not None:
            return self
        event = self.model_copy(update={"timestamp": now_ms})
        event._is_stamped = True
        return event

    def says_the_same(self, repeat: "Event") -> bool:
        """Whether a later event with this one's id is this one; a repeat without a timestamp arrives later."""
        said, again = _comparable(self), _comparable(repeat)
        return said == (again | {"timestamp": said["timestamp"]} if repeat._is_stamped else again)


EVENTS = TypeAdapter(list[Event])


def _comparable(event: Event) -> dict[str, str]:
    said = event.model_dump(exclude_none=True)
    return {name: str(value.normalize()) if isinstance(value, Decimal) else str(value) for name, value in said.items()}


class RefusedError(Exception):
    """A request that is refused: status, and for each fault the place and what is wrong."""

    def __init__(self, status: int, faults: Sequence[dict[str, Any]]) -> None:
        super().__init__(status)
        self.status, self.faults = status, list(faults)


def refused(status: int, message: str, *place: str | int) -> RefusedError:
    """Make a refusal of one fault."""
    return RefusedError(status, [{"loc": list(place), "msg": message}])


def parse_events(body: bytes, kinds: Collection[str]) -> list[Event]:
    """Read the events of a request.

    Parameters
    ----------
    body : bytes
        JSON: one event, or a list.
    kinds : collection of str
        The kinds of event that this shop's funnel knows.

    Returns
    -------
    list of Event
        Each with a timestamp.

    Raises
    ------
    RefusedError
        When anything is wrong with any of them; nothing is taken then.
    """
    try:
        content = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise refused(400, f"not JSON: {str(error)[:200]}", "body") from None
    listed = content if isinstance(content, list) else [content]
    if not listed or len(listed) > MOST_EVENTS:
        raise refused(422, f"between 1 and {MOST_EVENTS} events, not {len(listed)}", "body")
    try:
        events = EVENTS.validate_python(listed)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        raise RefusedError(422, [{"loc": ["body", *fault["loc"]], "msg": fault["msg"]} for fault in faults]) from None
    now_ms = time.time_ns() // 1_000_000
    for place, event in enumerate(events):
        if event.event not in kinds:
            raise refused(422, f"must be one of {', '.join(kinds)}", "body", place, "event")
        if event.timestamp is not None and event.timestamp > now_ms + AHEAD_MS:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            raise refused(422, f"lies in the future: here it is {now}", "body", place, "timestamp")
    return [event.stamped(now_ms) for event in events]


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
