"""A slow, plain recomputation of the marts from raw rows: the definitions once more, without SQL.

It shares no code and no idea with the models, so that agreement means something. One visitor, one session, one event
at a time; nothing is fast here and nothing has to be.
"""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

DAY_MS = 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
PLAIN_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
Row = dict[str, Any]


class Event(NamedTuple):
    """One line of raw_events, without its load."""

    timestamp: int
    visitorid: str
    event: str
    itemid: str
    transactionid: str | None = None
    price: Decimal | None = None
    categoryid: str | None = None
    quantity: Decimal | None = None
    event_id: str | None = None


class Property(NamedTuple):
    """One line of raw_item_properties, without its load."""

    timestamp: int
    itemid: str
    property: str
    value: str | None


class Category(NamedTuple):
    """One line of raw_category_tree, without its load."""

    categoryid: str
    parentid: str | None


@dataclass(frozen=True)
class Fact:
    """An event with what was known of its item at that moment."""

    ms: int
    visitor: str
    step: str
    rank: int
    item: str
    order_id: str | None
    price: Decimal | None
    amount: Decimal | None
    category: str | None
    root: str | None
    depth: int | None
    available: int | None
    local: datetime
    day: int
    raw: Event


@dataclass
class Session:
    """A visitor's events without a long gap, in order."""

    visitor: str
    number: int
    facts: list[Fact]
    earlier: list["Session"] = field(repr=False)

    @property
    def session_id(self) -> str:
        return f"{self.visitor}-{self.facts[0].ms}"

    def of(self, step: str) -> list[Fact]:
        return [fact for fact in self.facts if fact.step == step]


def order_key(event: Event, kinds: Sequence[str]) -> tuple[Any, ...]:
    """The order of a visitor's events; Python compares text by code point, which is UTF-8 byte order."""
    return (
        event.timestamp,
        kinds.index(event.event),
        event.itemid,
        event.transactionid or "",
        (event.price is not None, event.price or Decimal(0)),
        (event.quantity is not None, event.quantity or Decimal(0)),
        (event.categoryid is not None, event.categoryid or ""),
        (event.event_id is not None, event.event_id or ""),
    )


def is_refund(event: Event) -> bool:
    """A line that takes a purchase back: it says so, or counts a purchase below zero."""
    below_zero = min(event.price or Decimal(0), event.quantity or Decimal(0)) < 0
    return event.event == "refund" or (event.event == "transaction" and below_zero)


def price_from_text(text: str | None) -> Decimal | None:
    """A price property: `n` marks a number; what is no number, too large or negative is no price."""
    if text is None or not PLAIN_NUMBER.fullmatch(text.removeprefix("n")):
        return None
    price = Decimal(text.removeprefix("n")).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    return price if 0 <= price < Decimal(10) ** 14 else None


def at_ms(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def smoothed(successes: int, trials: int, weight: Any, prior: Any) -> float:
    exact_weight, exact_prior = Fraction(str(weight)), Fraction(str(prior))
    return float((successes + exact_weight * exact_prior) / (trials + exact_weight))


def carts_valued(facts: Iterable[Fact]) -> dict[str, Decimal]:
    """Each item in the cart with what it is worth there (0 if not known).

    It is worth what the addition that put it in was worth, less the units that were taken out again. What was bought
    is the order's: nothing is taken out of the cart after it.
    """
    inside: dict[str, tuple[Fact, Decimal]] = {}
    bought: set[str] = set()
    for fact in facts:
        opening, units = inside.get(fact.item, (fact, Decimal(0)))
        named = fact.raw.quantity
        if fact.step == "addtocart":
            inside[fact.item] = (opening, max(units, named or Decimal(1)))
        elif fact.step == "removefromcart" and fact.item not in bought:
            left = Decimal(0) if named is None else units - named
            if left > 0:
                inside[fact.item] = (opening, left)
            else:
                inside.pop(fact.item, None)
        elif fact.step == "transaction":
            bought.add(fact.item)
    return {
        item: to_money((opening.price or Decimal(0)) * min(units, opening.raw.quantity or Decimal(1)))
        for item, (opening, units) in inside.items()
    }


def to_money(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.0001"), ROUND_HALF_UP)


def first(facts: Sequence[Fact], step: str) -> tuple[int, Fact] | None:
    """Position and event of the first event of a step."""
    return next(((position, fact) for position, fact in enumerate(facts) if fact.step == step), None)


def seconds_between(facts: Sequence[Fact], from_step: str, to_step: str) -> float | None:
    """Seconds from the first event of one step to the first of another, if they come in that order."""
    start, end = first(facts, from_step), first(facts, to_step)
    if start is None or end is None or start[0] > end[0]:
        return None
    return (end[1].ms - start[1].ms) / 1000


@dataclass(frozen=True)
class Clock:
    """The first and the last event of a plausible time, and how many lie before and after."""

    first_ms: int | None
    last_ms: int | None
    early: int
    late: int


def clock_of(times: Iterable[int], loaded_ms: int | None, settings: Mapping[str, Any]) -> Clock:
    """Read the clock from the times of all raw events and the time of the last load."""
    given = sorted(times)
    limit = math.inf if loaded_ms is None else loaded_ms + int(settings["clock_tolerance_seconds"]) * 1000
    possible = [ms for ms in given if ms <= limit]
    if not possible:
        return Clock(min(given, default=None), max(given, default=None), 0, 0)
    most = len(possible) * Fraction(str(settings["clock_straggler_share"]))
    wide = int(settings["clock_gap_days"]) * DAY_MS
    cuts = [at for at in range(1, len(possible)) if possible[at] - possible[at - 1] > wide]
    start = max([at for at in cuts if at <= most], default=0)
    end = min([at for at in cuts if len(possible) - at <= most], default=len(possible))
    return Clock(possible[start], possible[end - 1], start, len(given) - end)


class Reference:
    """Sessions, funnels and features of one shop.

    Parameters
    ----------
    events, properties, categories
        Raw rows, in any order, duplicates included.
    settings
        The vars of dbt_project.yml.
    loaded_ms
        When events were loaded last; None where nobody knows.
    """

    def __init__(
        self,
        events: Iterable[Event],
        properties: Iterable[Property],
        categories: Iterable[Category],
        settings: Mapping[str, Any],
        loaded_ms: int | None = None,
    ) -> None:
        events = list(events)
        self.settings = settings
        self.steps: list[str] = list(settings["funnel_steps"])
        self.kinds = [*self.steps, "removefromcart"]
        self.timeout_ms = int(settings["session_timeout_seconds"]) * 1000
        self.offset = timedelta(minutes=int(settings["shop_utc_offset_minutes"]))
        self.zone = ZoneInfo(settings["shop_time_zone"]) if settings["shop_time_zone"] else None
        self.parents = {category.categoryid: category.parentid for category in categories}
        self.values: dict[tuple[str, str], list[Property]] = defaultdict(list)
        for row in properties:
            if row.value is not None:  # a property without a value says nothing, and takes nothing back
                self.values[row.itemid, row.property].append(row)

        self.refunds = {event for event in events if is_refund(event)}
        events = [event for event in events if not is_refund(event)]
        unique = sorted(set(events), key=lambda event: order_key(event, self.kinds))
        self.facts = [self._fact(event) for event in unique]
        self.clock = clock_of((event.timestamp for event in events), loaded_ms, settings)
        by_visitor: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.facts:
            by_visitor[fact.visitor].append(fact)
        self.by_visitor = {visitor: self._split(facts) for visitor, facts in by_visitor.items()}
        self._count_orders_once()
        self.refunded = self._pay_back()
        self.by_item: dict[str, list[Fact]] = defaultdict(list)
        self.by_category: dict[str, list[Fact]] = defaultdict(list)
        for fact in (fact for sessions in self.by_visitor.values() for session in sessions for fact in session.facts):
            self.by_item[fact.item].append(fact)
            if fact.category is not None:
                self.by_category[fact.category].append(fact)
        self.bots = {visitor for visitor, sessions in self.by_visitor.items() if self._is_bot(sessions)}
        self.sessions = [
            session
            for visitor, sessions in self.by_visitor.items()
            for session in sessions
            if not (settings["exclude_bots"] and visitor in self.bots)
        ]

    # What is known of an item at a moment

    def _as_of(self, item: str, name: str, ms: int) -> str | None:
        known = [row for row in self.values.get((item, name), []) if row.timestamp <= ms]
        if not known:
            return None
        return max(known, key=lambda row: (row.timestamp, row.value or "")).value

    def _root_and_depth(self, category: str | None) -> tuple[str | None, int | None]:
        if category is None:
            return None, None
        depth = 0
        while (parent := self.parents.get(category)) is not None:
            category, depth = parent, depth + 1
        return category, depth

    def _fact(self, event: Event) -> Fact:
        names = self.settings
        price = event.price
        if price is None:
            price = price_from_text(self._as_of(event.itemid, names["price_property"], event.timestamp))
        category = event.categoryid
        if category is None:
            category = self._as_of(event.itemid, names["category_property"], event.timestamp)
        available = self._as_of(event.itemid, names["availability_property"], event.timestamp)
        root, depth = self._root_and_depth(category)
        local = self._local(event.timestamp)
        return Fact(
            ms=event.timestamp,
            visitor=event.visitorid,
            step=event.event,
            rank=self.steps.index(event.event) + 1 if event.event in self.steps else 0,
            item=event.itemid,
            order_id=event.transactionid,
            price=price,
            amount=None if price is None else to_money(price * (1 if event.quantity is None else event.quantity)),
            category=category,
            root=root,
            depth=depth,
            available={"0": 0, "1": 1}.get(available or ""),
            local=local,
            day=(local - EPOCH).days,
            raw=event,
        )

    def _local(self, ms: int) -> datetime:
        if self.zone is None:
            return at_ms(ms) + self.offset
        return at_ms(ms).replace(tzinfo=UTC).astimezone(self.zone).replace(tzinfo=None)

    # Sessions

    def _split(self, facts: list[Fact]) -> list[Session]:
        runs: list[list[Fact]] = []
        for fact in facts:
            if runs and fact.ms - runs[-1][-1].ms <= self.timeout_ms:
                runs[-1].append(fact)
            else:
                runs.append([fact])
        sessions: list[Session] = []
        for number, run in enumerate(runs, start=1):
            sessions.append(Session(run[0].visitor, number, run, earlier=list(sessions)))
        return sessions

    def _count_orders_once(self) -> None:
        """An order is its first session's; in another one its events are no step."""
        sent = [
            (fact.ms, fact.visitor, session.number, place)
            for sessions in self.by_visitor.values()
            for session in sessions
            for place, fact in enumerate(session.facts)
            if fact.step == "transaction" and fact.order_id
        ]
        owners: dict[str | None, Session] = {}
        for _, visitor, number, place in sorted(sent):
            session = self.by_visitor[visitor][number - 1]
            fact = session.facts[place]
            if owners.setdefault(fact.order_id, session) is not session:
                session.facts[place] = replace(fact, step="repeated order", rank=0)

    def _is_bot(self, sessions: list[Session]) -> bool:
        facts = [fact for session in sessions for fact in session.facts]
        viewed = [fact.item for fact in facts if fact.step == "view"]
        pace_ms = Fraction(str(self.settings["bot_pace_mean_gap_seconds"])) * 1000
        return (
            len(facts) >= self.settings["bot_visitor_events"]
            or any(viewed.count(item) >= self.settings["bot_poll_views"] for item in set(viewed))
            or any(
                self._acts(session) >= self.settings["bot_pace_events"]
                and Fraction(session.facts[-1].ms - session.facts[0].ms, self._acts(session) - 1) < pace_ms
                for session in sessions
            )
        )

    @staticmethod
    def _acts(session: Session) -> int:
        """Count the moments of a session; all that one order paid for is of the moment of its first line."""
        paid_at: dict[str, int] = {}
        moments = set[int]()
        for fact in session.facts:
            is_line = fact.raw.event == "transaction" and fact.order_id
            moments.add(paid_at.setdefault(str(fact.order_id), fact.ms) if is_line else fact.ms)
        return len(moments)

    def _is_closed(self, session: Session) -> int:
        assert self.clock.last_ms is not None
        return int(session.facts[-1].ms + self.timeout_ms < self.clock.last_ms)

    def _is_stray(self, session: Session) -> bool:
        first, last = self.clock.first_ms, self.clock.last_ms
        return first is not None and last is not None and (session.facts[0].ms < first or session.facts[-1].ms > last)

    def session_rows(self) -> list[Row]:
        return [self._session_row(session) for session in self.sessions]

    def _session_row(self, session: Session) -> Row:
        facts = session.facts
        entry = facts[0]
        return {f"{step}_count": len(session.of(step)) for step in self.steps} | {
            "session_id": session.session_id,
            "visitor_id": session.visitor,
            "session_number": session.number,
            "started_at": at_ms(entry.ms),
            "started_ms": entry.ms,
            "ended_at": at_ms(facts[-1].ms),
            "ended_ms": facts[-1].ms,
            "started_date": entry.local.date(),
            "duration_seconds": (facts[-1].ms - entry.ms) / 1000,
            "event_count": len(facts),
            "distinct_items": len({fact.item for fact in facts}),
            "entry_item_id": entry.item,
            "entry_category_id": entry.category,
            "entry_root_category_id": entry.root,
            "is_new_visitor": int(session.number == 1),
            "is_bot": int(session.visitor in self.bots),
            "is_closed": self._is_closed(session),
        }

    # Funnels

    def funnel_rows(self) -> list[Row]:
        return [self._funnel_row(session) for session in self.sessions]

    def _funnel_row(self, session: Session) -> Row:
        facts = session.facts
        row: Row = {
            "session_id": session.session_id,
            "visitor_id": session.visitor,
            "started_at": at_ms(facts[0].ms),
            "started_date": facts[0].local.date(),
        }
        ordered = self._ordered_steps(facts)
        for step in self.steps:
            of_step = session.of(step)
            row[f"has_{step}"] = int(bool(of_step))
            row[f"first_{step}_at"] = at_ms(of_step[0].ms) if of_step else None
            row[f"has_ordered_{step}"] = int(step in ordered)
        deepest = max(1, *(fact.rank for fact in facts))
        carted = carts_valued(facts)
        bought = {fact.item for fact in session.of("transaction")}
        for start, end in [*pairwise(self.steps), ("view", "addtocart"), ("addtocart", "transaction")]:
            name = f"{start}_to_{end}_seconds".replace("addtocart", "cart")
            row[name] = seconds_between(facts, start, end)
        return row | {
            "furthest_step": self.steps[deepest - 1],
            "furthest_step_number": deepest,
            "revenue": self._revenue(session),
            "refunded_value": self.refunded.get(session.session_id, Decimal(0)),
            "carted_value": sum(carted.values(), Decimal(0)),
            "abandoned_value": sum((value for item, value in carted.items() if item not in bought), Decimal(0)),
        }

    def _ordered_steps(self, facts: Sequence[Fact]) -> set[str]:
        """Steps reached by a chain of all steps up to them, from any start, within the conversion window."""
        window_ms = int(self.settings["conversion_window_seconds"]) * 1000
        reached: set[str] = set()
        for start, opening in enumerate(facts):
            if opening.step != self.steps[0]:
                continue
            reached.add(self.steps[0])
            position = start
            for step in self.steps[1:]:
                # From a fixed start the earliest next link leaves most room for the ones after it.
                later = [place for place in range(position + 1, len(facts)) if facts[place].step == step]
                if not later or facts[later[0]].ms - opening.ms > window_ms:
                    break
                reached.add(step)
                position = later[0]
        return reached

    @staticmethod
    def _paid(session: Session) -> list[Fact]:
        """What the session paid for.

        Of an item an order has the lines of its first moment. Two that say the same are one, unless they have ids.
        """
        paid: list[Fact] = []
        moments: dict[tuple[str, str], int] = {}
        counted = set[tuple[Any, ...]]()
        for fact in session.of("transaction"):
            if fact.order_id is None:
                paid.append(fact)
                continue
            line = (fact.order_id, fact.item, fact.price, fact.amount, fact.raw.event_id)
            if moments.setdefault(line[:2], fact.ms) == fact.ms and line not in counted:
                paid.append(fact)
            counted.add(line)
        return paid

    def _revenue(self, session: Session) -> Decimal:
        paid = sum((fact.amount or Decimal(0) for fact in self._paid(session)), Decimal(0))
        return paid - self.refunded.get(session.session_id, Decimal(0))

    def _pay_back(self) -> dict[str, Decimal]:
        """What each session's purchases lost again: no purchase loses more than it cost.

        A refund is of the order that it names. If nobody has that order, it is of what its visitor bought last of its
        item up to then. Without a price it takes back the item's lines, or the units it counts, at the highest price;
        without an item the order.
        """
        lines = [
            (session, fact)
            for sessions in self.by_visitor.values()
            for session in sessions
            for fact in self._paid(session)
        ]
        back: dict[tuple[str, Any], list[Decimal]] = defaultdict(list)
        cost: dict[tuple[str, Any], Decimal] = defaultdict(Decimal)
        for session, fact in lines:
            cost[session.session_id, fact.order_id or id(fact)] += fact.amount or Decimal(0)
        for refund in self.refunds:
            of_order = [line for line in lines if refund.transactionid and line[1].order_id == refund.transactionid]
            before = [
                line
                for line in lines
                if (line[1].visitor, line[1].item) == (refund.visitorid, refund.itemid)
                and line[1].ms <= refund.timestamp
            ]
            if not (of_order or before):
                continue
            session, fact = (of_order or before)[-1]
            purchase = (session.session_id, fact.order_id or id(fact))
            of_item = [line for _, line in of_order or before[-1:] if line.item == refund.itemid]
            back[purchase].append(self._amount_back(refund, of_item, cost[purchase]))
        found: dict[str, Decimal] = defaultdict(Decimal)
        for purchase, amounts in back.items():
            found[purchase[0]] += min(sum(amounts), cost[purchase])
        return found

    @staticmethod
    def _amount_back(refund: Event, lines: Sequence[Fact], whole: Decimal) -> Decimal:
        units = None if refund.quantity is None else abs(refund.quantity)
        if refund.price is not None:
            return to_money(abs(refund.price) * (1 if units is None else units))
        if not refund.itemid:
            return whole
        if units is None:
            return sum((line.amount or Decimal(0) for line in lines), Decimal(0))
        return to_money(max((line.price or Decimal(0) for line in lines), default=Decimal(0)) * units)

    def dropoff_rows(self, breakdowns: Collection[str], daily: bool = False) -> list[Row]:
        """Each step but the last, by breakdown and (if daily) local date of session start."""
        groups: dict[tuple[Any, ...], list[Session]] = defaultdict(list)
        for session in self.sessions:
            entry = session.facts[0]
            values = {
                "all": "all",
                "visitor_type": "returning" if session.earlier else "new",
                "category": entry.root or "unknown",
                "weekday": str(entry.local.isoweekday()),
                "hour": f"{entry.local.hour:02}",
            }
            date = (entry.local.date(),) if daily else ()
            for breakdown in breakdowns:
                for number, (step, next_step) in enumerate(pairwise(self.steps), start=1):
                    if session.of(step):
                        groups[*date, breakdown, values[breakdown], step, next_step, number].append(session)
        names = ["funnel_date"] * daily + ["breakdown", "breakdown_value", "step", "next_step", "step_number"]
        return [dict(zip(names, key, strict=True)) | self._dropoff(key[-1], of) for key, of in groups.items()]

    def _dropoff(self, number: int, sessions: list[Session]) -> Row:
        step, next_step = self.steps[number - 1 : number + 1]
        converted = dropped_off = 0
        for session in sessions:
            later = {fact.step for fact in session.facts} & set(self.steps[number:])
            converted += next_step in later
            dropped_off += not later
        gaps = [seconds_between(session.facts, step, next_step) for session in sessions]
        funnels = [self._funnel_row(session) for session in sessions]
        known = [gap for gap in gaps if gap is not None]
        return {
            "entered": len(sessions),
            "converted": converted,
            "skipped": len(sessions) - converted - dropped_off,
            "dropped_off": dropped_off,
            "conversion_rate": converted / len(sessions),
            "dropoff_rate": dropped_off / len(sessions),
            "median_seconds_to_convert": median(known) if known else None,
            "revenue_lost": sum(
                (row["abandoned_value"] for row in funnels if row["furthest_step"] == step), Decimal(0)
            ),
        }

    # Features

    def decisions(self, session_ids: Collection[str] | None = None) -> list[tuple[str, Session, int]]:
        """Each row of session_features: decision point, session, position of the decision event (0-based)."""
        found: list[tuple[str, Session, int]] = []
        for session in self.sessions:
            if session_ids is not None and session.session_id not in session_ids:
                continue
            for point in self.settings["decision_points"]:
                if "event_number" in point:
                    position = int(point["event_number"]) - 1
                    if position >= len(session.facts):
                        continue
                else:
                    hit = first(session.facts, point["first_event"])
                    if hit is None:
                        continue
                    position = hit[0]
                if all(fact.step != "transaction" for fact in session.facts[: position + 1]):
                    found.append((point["name"], session, position))
        return found

    def feature_rows(self, session_ids: Collection[str] | None = None) -> list[Row]:
        return [self._feature_row(*decision) for decision in self.decisions(session_ids)]

    def _feature_row(self, point: str, session: Session, position: int) -> Row:
        event = session.facts[position]
        row: Row = {
            "session_id": session.session_id,
            "visitor_id": session.visitor,
            "decision_point": point,
            "decided_at": at_ms(event.ms),
            "decided_ms": event.ms,
            "decided_date": event.local.date(),
            "item_id": event.item,
            "has_transaction": int(any(fact.step == "transaction" for fact in session.facts[position + 1 :])),
            "is_mature": self._is_closed(session),
            "is_new_visitor": int(not session.earlier),
            "is_bot": int(session.visitor in self.bots),
        }
        return (
            row
            | self._context(event)
            | self._session_so_far(session.facts[: position + 1])
            | self._item(event, session, position)
            | self._history(event, session.earlier)
        )

    @staticmethod
    def _context(event: Fact) -> Row:
        weekday = event.local.isoweekday()
        return {
            "decision_hour": event.local.hour,
            "decision_weekday": weekday,
            "is_weekend": int(weekday in (6, 7)),
        }

    @staticmethod
    def _session_so_far(so_far: list[Fact]) -> Row:
        event, count = so_far[-1], len(so_far)
        views = [fact for fact in so_far if fact.step == "view"]
        carts = [fact for fact in so_far if fact.step == "addtocart"]
        repeats = sum(fact.item in {view.item for view in views[:place]} for place, fact in enumerate(views))
        since_start = (event.ms - so_far[0].ms) / 1000
        return {
            "events_so_far": count,
            "views_so_far": len(views),
            "carts_so_far": len(carts),
            "distinct_items_so_far": len({fact.item for fact in so_far}),
            "distinct_categories_so_far": len({fact.category for fact in so_far if fact.category is not None}),
            "seconds_since_start": since_start,
            "seconds_since_previous_event": (event.ms - so_far[-2].ms) / 1000 if count > 1 else None,
            "mean_gap_seconds": since_start / (count - 1) if count > 1 else None,
            "repeat_view_share": repeats / len(views) if views else None,
            "has_view": int(bool(views)),
            "has_addtocart": int(bool(carts)),
            "view_to_cart_seconds": seconds_between(so_far, "view", "addtocart"),
            "addtocart_rate": len(carts) / len(views) if views else None,
            "carted_value_so_far": float(sum(carts_valued(so_far).values(), Decimal(0))),
        }

    def _item(self, event: Fact, session: Session, position: int) -> Row:
        row: Row = {
            "item_root_category": event.root,
            "item_category": event.category,
            "item_category_depth": event.depth,
            "item_price": None if event.price is None else float(event.price),
            "item_price_ratio": self._price_ratio(event),
            "item_is_available": event.available,
        }
        weight = self.settings["smoothing_weight"]
        for days in (7, 28):
            steps = [fact.step for fact in self.by_item[event.item] if event.day - days <= fact.day < event.day]
            views, carts, orders = (steps.count(step) for step in ("view", "addtocart", "transaction"))
            row[f"item_views_{days}d"] = views
            row[f"item_cart_rate_{days}d"] = smoothed(carts, views, weight, self.settings["prior_cart_rate"])
            row[f"item_purchase_rate_{days}d"] = smoothed(orders, views, weight, self.settings["prior_purchase_rate"])
        before = [fact for past in session.earlier for fact in past.facts] + session.facts[:position]
        row["item_prior_views_by_visitor"] = sum(fact.step == "view" and fact.item == event.item for fact in before)
        return row

    def _price_ratio(self, event: Fact) -> float | None:
        if event.price is None or event.category is None:
            return None
        prices = [
            Fraction(fact.price)
            for fact in self.by_category[event.category]
            if fact.price is not None and event.day - 28 <= fact.day < event.day
        ]
        if not prices or sum(prices) == 0:
            return None
        return float(Fraction(event.price) / (sum(prices) / len(prices)))

    def _history(self, event: Fact, earlier: list[Session]) -> Row:
        past = [fact for session in earlier for fact in session.facts]
        carts = [fact for fact in past if fact.step == "addtocart"]
        orders = [fact for fact in past if fact.step == "transaction"]
        previous = earlier[-1] if earlier else None
        converted = sum(bool(session.of("transaction")) for session in earlier)

        def days_since(facts: list[Fact]) -> float | None:
            return (event.ms - facts[-1].ms) / DAY_MS if facts else None

        same_root = None
        if past and past[-1].root is not None and event.root is not None:
            same_root = int(past[-1].root == event.root)
        return {
            "prior_sessions": len(earlier),
            "prior_events": len(past),
            "prior_views": sum(fact.step == "view" for fact in past),
            "prior_carts": len(carts),
            "prior_transactions": len(orders),
            "prior_conversion_rate": smoothed(
                converted, len(earlier), self.settings["smoothing_weight"], self.settings["prior_conversion_rate"]
            ),
            "days_since_previous_session": days_since(past),
            "days_since_last_cart": days_since(carts),
            "days_since_last_purchase": days_since(orders),
            "previous_session_left_cart": (
                None if previous is None else int(bool(carts_valued(previous.facts)) and not previous.of("transaction"))
            ),
            "same_root_category_as_previous_session": same_root,
        }

    # The data set as a whole

    def summary(self) -> Row:
        carts = sum(bool(session.of("addtocart")) for session in self.sessions)
        converting = sum(bool(session.of("transaction")) for session in self.sessions)
        facts = [fact for session in self.sessions for fact in session.facts]
        return {
            "event_count": len(facts),
            "visitor_count": len({session.visitor for session in self.sessions}),
            "session_count": len(self.sessions),
            "cart_session_count": carts,
            "converting_session_count": converting,
            "conversion_rate": converting / len(self.sessions) if self.sessions else None,
            "revenue": sum((self._revenue(session) for session in self.sessions), Decimal(0)),
            "first_event_at": at_ms(min(fact.ms for fact in facts)) if facts else None,
            "last_event_at": at_ms(max(fact.ms for fact in facts)) if facts else None,
            "implausible_event_count": sum(len(session.facts) for session in self.sessions if self._is_stray(session)),
            "first_plausible_ms": self.clock.first_ms,
            "high_water_mark_ms": self.clock.last_ms,
        }
