"""A simulated shop whose shoppers react to what they are shown; what showing changes is known.

A shopper comes once, looks at three things, and then buys or leaves. Some were there a week or two before, whenever
they come: so how long ago that was says nothing about the day. Where an offer is shown at the third event, one who
would have left may buy (`adds`), and one who would have bought may leave (`removes`), as in the segments of
ml/config.yml.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Event = dict[str, Any]
DAY_MS, MINUTE_MS = 86_400_000, 60_000
LIVE_MS = 1_741_000_000_000 // DAY_MS * DAY_MS
# From the past of a shopper to when she is expected.
LEAST_AGO_MS, MORE_AGO_MS = 7 * DAY_MS, 6 * DAY_MS
PARTS_OF_A_DAY = 6
CHEAP, DEAR = "20.00", "60.00"


@dataclass(frozen=True)
class Segment:
    """Shoppers who are alike: what they did in the past and do now, how often they buy, and how they react."""

    name: str
    share: float
    buys: float
    adds: float
    removes: float
    past: tuple[str, ...]
    third: str
    price: str

    @property
    def buys_if_shown(self) -> float:
        """Chance to buy when the offer is shown."""
        return self.buys * (1 - self.removes) + (1 - self.buys) * self.adds

    @property
    def effect(self) -> float:
        """What showing changes in the chance to buy."""
        return self.buys_if_shown - self.buys


SEGMENTS = (
    Segment("loyal buyers who react badly", 0.15, 0.30, 0.0, 0.25, ("view", "addtocart", "transaction"), "view", CHEAP),
    Segment("sure things", 0.10, 0.50, 0.0, 0.0, ("view", "addtocart"), "addtocart", CHEAP),
    Segment("persuadable cart abandoners", 0.25, 0.15, 0.20, 0.0, (), "addtocart", CHEAP),
    Segment("price-sensitive returners", 0.20, 0.05, 0.04, 0.0, ("view", "view"), "view", DEAR),
    Segment("everybody else", 0.30, 0.04, 0.0, 0.0, (), "view", CHEAP),
)
AVERAGE_EFFECT = sum(segment.share * segment.effect for segment in SEGMENTS)


@dataclass(frozen=True)
class Shopper:
    """One who comes at a moment; `luck` decides whether she buys: what she does when shown and when not."""

    visitor: str
    segment: Segment
    item: str
    comes_ms: int
    luck: tuple[float, float]
    category: str = "things"

    def event(self, kind: str, after_ms: int, **more: str) -> Event:
        """An event of hers, as the shop sends it."""
        return {
            "visitorid": self.visitor, "event": kind, "itemid": self.item, "timestamp": self.comes_ms + after_ms,
            "price": self.segment.price, "categoryid": self.category, **more,
        }  # fmt: skip

    @property
    def first_events(self) -> list[Event]:
        """The three events before an offer can be shown."""
        return [self.event(kind, place * MINUTE_MS) for place, kind in enumerate(("view", "view", self.segment.third))]

    def buys(self, *, is_shown: bool) -> bool:
        """Whether she buys."""
        own, reaction = self.luck
        would = own < self.segment.buys
        if not is_shown:
            return would
        return reaction >= self.segment.removes if would else reaction < self.segment.adds

    @property
    def purchase(self) -> Event:
        """What buying looks like."""
        return self.event("transaction", 5 * MINUTE_MS, transactionid=f"o-{self.visitor}-{self.comes_ms}")


def shoppers(seed: int, count: int, days: int, wave: int = 0, shop: str = "") -> list[Shopper]:
    """Draw shoppers who come at random within some days, in the order of their coming.

    Parameters
    ----------
    seed : int
        Seed of the draw.
    count : int
        How many.
    days : int
        Days within which they come.
    wave : int
        Number of the wave, whose visitors and days are its own.
    shop : str
        Begins the names of visitors, items and category, so that shops in one warehouse share nothing.

    Returns
    -------
    list of Shopper
        Those with a past are visitors of `history`.
    """
    rng = np.random.default_rng([seed, wave])
    kinds = rng.choice(len(SEGMENTS), count, p=[segment.share for segment in SEGMENTS])
    comes = np.sort(rng.integers(0, days * DAY_MS, count)) + LIVE_MS + wave * days * DAY_MS
    items, luck = rng.integers(0, 10, count), rng.random((count, 2))
    found, numbers = list[Shopper](), [wave * count] * len(SEGMENTS)
    for place, kind in enumerate(kinds.tolist()):
        visitor = f"{shop}{kind}-{numbers[kind]}"
        numbers[kind] += 1
        own = (float(luck[place, 0]), float(luck[place, 1]))
        found.append(_shopper(visitor, SEGMENTS[kind], int(items[place]), int(comes[place]), own, shop))
    return found


def _shopper(visitor: str, segment: Segment, item: int, at: int, luck: tuple[float, float], shop: str) -> Shopper:
    kind = "dear" if segment.price == DEAR else "cheap"
    return Shopper(visitor, segment, f"{shop}{kind}-{item}", at, luck, f"{shop}things")


def history(count: int, days: int, wave: int = 0, shop: str = "") -> Iterator[Event]:
    """What shoppers of a wave did when they came before, 7 to 13 days before they are expected.

    Parameters
    ----------
    count, days, wave, shop
        As of `shoppers`.

    Yields
    ------
    dict
        Events, as the log of the live service has them. Those of the first wave lie before it; those of a later wave
        partly within the one before.
    """
    for kind, segment in enumerate(SEGMENTS):
        expected = count * segment.share
        # As many as come of a segment, and some more, for chance may draw them.
        for place in range(min(int(expected + 2 * count**0.5), count)):
            number = wave * count + place
            comes = LIVE_MS + int((wave + min(place / expected, 1)) * days * DAY_MS)
            at = comes - LEAST_AGO_MS - (number * 7_919_000 + kind * 1_000) % MORE_AGO_MS
            past = _shopper(f"{shop}{kind}-{number}", segment, number % 10, at, (0.0, 0.0), shop)
            for step, event in enumerate(segment.past):
                order = {"transactionid": f"p-{past.visitor}"} if event == "transaction" else {}
                yield past.event(event, step * MINUTE_MS, **order)


def write_history(folder: Path, count: int, days: int, wave: int = 0, shops: Sequence[str] = ("",)) -> None:
    """Write the past of a wave of some shops into a folder, in the format of the live service's log."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"events-past{wave}.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(event) + "\n" for shop in shops for event in history(count, days, wave, shop))


def visit(
    crowd: Sequence[Shopper], send: Callable[[list[Event]], list[dict[str, Any]]], point: str = "engaged"
) -> dict[str, dict[str, Any]]:
    """Let shoppers come: their events go to the service, and they react to its decisions.

    Parameters
    ----------
    crowd : sequence of Shopper
        In the order of their coming.
    send : callable
        Sends events and returns the decisions.
    point : str
        Where offers are shown.

    Returns
    -------
    dict
        The decision about each visitor there.
    """
    found: dict[str, dict[str, Any]] = {}
    parts: dict[int, list[Shopper]] = {}
    for shopper in crowd:
        parts.setdefault(shopper.comes_ms * PARTS_OF_A_DAY // DAY_MS, []).append(shopper)
    for part in parts.values():
        for start in range(0, len(part), 300):
            some = part[start : start + 300]
            decisions = send([event for shopper in some for event in shopper.first_events])
            told = {row["visitor_id"]: row for row in decisions if row["decision_point"] == point}
            bought = [shopper for shopper in some if shopper.buys(is_shown=told[shopper.visitor]["action"] == "show")]
            if bought:
                send([shopper.purchase for shopper in bought])
            found |= told
    return found
