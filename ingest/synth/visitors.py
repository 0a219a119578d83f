"""What visitors of the synthetic shop do: latent intent, item appeal, price and stock become a click-stream."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from ingest.synth import calibration as facts
from ingest.synth.catalogue import Catalogue
from ingest.synth.draws import (
    Bools,
    Draws,
    Floats,
    Ints,
    QuantileTable,
    count_thresholds,
    cumulative_table,
    even_normal,
    group_start,
    is_first,
    latest,
    pick,
    place_in_group,
    running_sum,
    sigmoid,
)

VIEW, CART, TRANSACTION = 0, 1, 2
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
# Bounded memory: one block of visitors at a time, each with its own random stream.
BLOCK_VISITORS = 1 << 18
# Room for what can follow one view: see `_story`.
_PLACES = 256
_WITHIN_SESSION = QuantileTable(facts.WITHIN_SESSION_GAPS_MS)
_BETWEEN_SESSIONS = QuantileTable(facts.BETWEEN_SESSION_GAPS_MS)
_SESSION_THRESHOLDS = count_thresholds(facts.SESSIONS_HEAD, facts.SESSIONS_TAIL, facts.SESSIONS_LARGEST)
_VIEW_THRESHOLDS = count_thresholds(facts.VIEWS_HEAD, facts.VIEWS_TAIL, facts.VIEWS_LARGEST)


@dataclass
class Events:
    """Columns of a block of events; `order` is -1 where the row is no transaction."""

    timestamp: Ints
    visitor: NDArray[np.int32]
    kind: NDArray[np.int8]
    item: NDArray[np.int32]
    order: NDArray[np.int32]

    @classmethod
    def of(cls, timestamp: Ints, visitor: Ints, kind: Ints, item: Ints, order: Ints) -> Self:
        """Return events in their compact types."""
        small = (visitor.astype(np.int32), kind.astype(np.int8), item.astype(np.int32), order.astype(np.int32))
        return cls(timestamp, *small)

    @classmethod
    def concatenate(cls, blocks: list[Self]) -> Self:
        """Return the blocks as one."""
        return cls(*(np.concatenate([getattr(b, f.name) for b in blocks]) for f in fields(cls)))

    def take(self, rows: Any) -> Self:
        """Return the chosen rows."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    def __len__(self) -> int:
        return len(self.timestamp)


@dataclass(frozen=True)
class _Sessions:
    owner: Ints
    start: Ints  # ms UTC, as if sessions took no time
    drive: Floats
    trade: Bools

    @property
    def week(self) -> Ints:
        """Number of the latest snapshot; before the first, the first one's facts already hold."""
        return np.clip((self.start - facts.FIRST_SNAPSHOT_MS) // WEEK_MS, 0, facts.SNAPSHOTS - 1)

    def by_clock(self, hour_effect: tuple[float, ...], weekday_effect: tuple[float, ...]) -> Floats:
        """Effect of the local hour and weekday on each session."""
        local = self.start + facts.PUBLISHED_OFFSET_MS
        hour, monday_based = local // HOUR_MS % 24, (local // DAY_MS + 3) % 7
        return np.asarray(np.array(hour_effect)[hour] + np.array(weekday_effect)[monday_based])


@dataclass(frozen=True)
class _Views:
    session: Ints
    item: Ints
    taste: Floats


@dataclass(frozen=True)
class _Carts:
    view: Ints  # the view after which it happens
    item: Ints
    nth: Ints
    hidden: Bools  # by view: carted from elsewhere, so the view itself is not in the data


@dataclass(frozen=True)
class _Orders:
    view: Ints
    place: Ints
    item: Ints
    number: Ints


@dataclass(frozen=True)
class _Purchases:
    """What the sessions of a block buy."""

    from_cart: _Orders
    from_before: _Orders  # what the session before left in the cart
    repeated: _Orders
    silent: Bools  # by cart: leaves no row, although its session buys


class _Actions:
    """Rows before they have a time: place in the story, kind, item, order number (-1 = none)."""

    def __init__(self, place: Ints, kind: int | Ints, item: Ints, order: Ints | None = None) -> None:
        self.place, self.item = place, item
        self.kind: Ints = np.full(len(place), kind) if isinstance(kind, int) else kind
        self.order: Ints = np.full(len(place), -1) if order is None else order

    @classmethod
    def in_order(cls, parts: list["_Actions"]) -> "_Actions":
        columns = ("place", "kind", "item", "order")
        place, kind, item, order = (np.concatenate([getattr(p, name) for p in parts]) for name in columns)
        return cls(place, kind, item, order).take(np.argsort(place, kind="stable"))

    def take(self, rows: Ints) -> "_Actions":
        return _Actions(self.place[rows], self.kind[rows], self.item[rows], self.order[rows])

    def __len__(self) -> int:
        return len(self.place)


class Calendar:
    """When sessions start, by local hour of the period, so that the days add up to the published ones."""

    def __init__(self) -> None:
        days, hours = len(facts.SESSIONS_BY_DAY), np.array(facts.START_HOUR_WEIGHTS)
        self._first_cell_ms = (facts.PERIOD_START_MS + facts.PUBLISHED_OFFSET_MS) // DAY_MS * DAY_MS
        cell_ms = self._first_cell_ms + np.arange(days * 24) * HOUR_MS - facts.PUBLISHED_OFFSET_MS
        inside = (cell_ms >= facts.PERIOD_START_MS) & (cell_ms < facts.PERIOD_END_MS)
        grid = hours * inside.reshape(days, 24)
        share = grid / grid.sum(axis=1, keepdims=True) * self._first_sessions()[:, None]
        self._cells = cumulative_table(share.ravel())
        self._hours = np.cumsum(hours)

    @staticmethod
    def _first_sessions() -> Floats:
        """First sessions by day = all sessions less those that return, solved day by day."""
        target = np.array(facts.SESSIONS_BY_DAY, dtype=np.float64)
        days = len(target)
        lag = _BETWEEN_SESSIONS.at((np.arange(20_000) + 0.5) / 20_000) // DAY_MS
        gap = np.bincount(lag, minlength=days)[:days] / 20_000
        returns, kernel = np.zeros(days), gap
        for more in 1.0 - ndtr(_SESSION_THRESHOLDS[:40]):
            returns += more * kernel
            kernel = np.convolve(kernel, gap)[:days]
        first = np.zeros(days)
        for day in range(days):
            came_back = float((first[:day] * returns[day:0:-1]).sum())
            first[day] = max((target[day] - came_back) / (1.0 + returns[0]), 0.2 * target[day])
        return np.round(first, 3)

    def first_start(self, draws: Draws, size: int) -> Ints:
        """Return starts of first sessions, ms UTC."""
        cell = pick(self._cells, draws.uniform(size))
        return self._first_cell_ms + cell * HOUR_MS + draws.integers(HOUR_MS, size) - facts.PUBLISHED_OFFSET_MS

    def same_day(self, draws: Draws, start: Ints) -> Ints:
        """Return another moment of each start's local day, by the hour profile."""
        day = (start + facts.PUBLISHED_OFFSET_MS) // DAY_MS * DAY_MS
        hour = pick(self._hours, draws.uniform(len(start)))
        return day + hour * HOUR_MS + draws.integers(HOUR_MS, len(start)) - facts.PUBLISHED_OFFSET_MS


class Shop:
    """The synthetic shop: a catalogue, a calendar and visitors.

    Parameters
    ----------
    visitors : int
        Number of visitors.
    seed : int
        Equal visitors and seed give equal events.
    """

    def __init__(self, visitors: int, seed: int) -> None:
        self._visitors, self._seed = visitors, seed
        self.catalogue = Catalogue.build(visitors, Draws(seed, 1))
        self._calendar = Calendar()
        self._orders = 0
        self._robots_made = 0

    def blocks(self) -> Iterator[Events]:
        """Yield the events of one block of visitors after the other."""
        count = -(-self._visitors // BLOCK_VISITORS)
        edges = [self._visitors * number // count for number in range(count + 1)]
        for number, (low, high) in enumerate(pairwise(edges)):
            yield self._block(Draws(self._seed, 2, number), low, high)

    def _block(self, draws: Draws, low: int, high: int) -> Events:
        visitor = low + draws.order(high - low)
        # Even shares, not draws: a few robots and trade customers weigh much.
        robots = round(high * facts.ROBOT_SHARE) - round(low * facts.ROBOT_SHARE)
        trade = round(high * facts.TRADE_SHARE) - round(low * facts.TRADE_SHARE)
        people = self._people(draws, visitor[robots:], trade)
        events = Events.concatenate([people, self._robots(draws, visitor[:robots])])
        return events.take((events.timestamp >= facts.PERIOD_START_MS) & (events.timestamp < facts.PERIOD_END_MS))

    def _people(self, draws: Draws, visitor: Ints, trade: int) -> Events:
        intent, engagement = draws.normal(len(visitor)), draws.normal(len(visitor))
        intent[:trade] = facts.TRADE_INTENT
        sessions, views_each = self._sessions(draws, intent, engagement, trade)
        session = np.repeat(np.arange(len(sessions.owner)), views_each)
        views = self._views(draws, sessions, session)
        carts = self._carts(draws, sessions, views)
        actions = self._story(draws, views, carts, self._orders_of(draws, sessions, views, carts))
        return _timed(draws, actions, session[actions.place // _PLACES], sessions, visitor)

    def _sessions(self, draws: Draws, intent: Floats, engagement: Floats, trade: int) -> tuple[_Sessions, Ints]:
        """Sessions of every visitor inside the period, and the number of views of each."""
        score = draws.mixed((facts.RETURN_INTENT, intent), (facts.RETURN_ENGAGEMENT, engagement))
        sessions = np.searchsorted(_SESSION_THRESHOLDS, score) + 1
        sessions[:trade] = facts.TRADE_SESSIONS + draws.integers(facts.TRADE_MORE_SESSIONS, trade)
        owner = np.repeat(np.arange(len(intent)), sessions)
        start = self._starts(draws, owner)
        inside = start < facts.PERIOD_END_MS
        owner, start = owner[inside], start[inside]
        mood = draws.normal(len(owner))
        score = draws.mixed(
            (facts.VIEW_INTENT, intent[owner]), (facts.VIEW_ENGAGEMENT, engagement[owner]), (facts.VIEW_MOOD, mood)
        )
        drive = facts.INTENT * intent[owner] + facts.MOOD * mood
        return _Sessions(owner, start, drive, owner < trade), np.searchsorted(_VIEW_THRESHOLDS, score) + 1

    def _starts(self, draws: Draws, owner: Ints) -> Ints:
        """Starts of sessions as if a session took no time; after more than half a day at a usual hour."""
        opens = is_first(owner)
        first = self._calendar.first_start(draws, int(owner[-1]) + 1)[owner]
        gap = np.where(opens, 0, _BETWEEN_SESSIONS.at(draws.uniform(len(owner))))
        start = first + running_sum(gap, owner)
        shift = np.where(opens, 0, self._calendar.same_day(draws, start) - start)
        # Sessions that follow within half a day move along with the one they follow.
        shift = shift[latest(opens | (gap > DAY_MS // 2))]
        moved = gap + np.where(opens, 0, np.diff(shift, prepend=0))
        return first + running_sum(np.where(moved >= facts.BETWEEN_SESSION_GAPS_MS[0][1], moved, gap), owner)

    def _views(self, draws: Draws, sessions: _Sessions, session: Ints) -> _Views:
        """Item of every view, and how much it is to the visitor's taste."""
        shop, size, person = self.catalogue, len(session), sessions.owner[session]
        row, opens, first = np.arange(size), is_first(session), is_first(person)

        # Interest: the category of the row before, another one of the same root, or a new start.
        turn, share = draws.uniform(size), draws.uniform(size)
        new_root = first | (turn < np.where(opens, facts.REOPENED_NEW_ROOT, facts.NEW_ROOT))
        new_category = new_root | (turn < np.where(opens, facts.REOPENED_NEW_CATEGORY, facts.NEW_CATEGORY))
        started = pick(shop.category_table, share)
        root = shop.category_root[started][latest(new_root)]
        related = pick(shop.category_table, share, shop.root_low[root], shop.root_high[root])
        category = np.where(new_root, started, related)[latest(new_category)]
        item = shop.item_of(category, draws.uniform(size))
        # A new item that happens to be the one before is drawn once more: small shops have few items a category.
        item = np.where(np.diff(item, prepend=-1) == 0, shop.item_of(category, draws.uniform(size)), item)

        # Attention: the same item again, one seen earlier, or another.
        turn = draws.uniform(size)
        oldest = np.where(opens, np.maximum(group_start(person), row - facts.REMEMBERED_VIEWS), group_start(session))
        earlier = oldest + draws.below(np.maximum(row - oldest, 1))
        source = np.where(turn < facts.SAME_ITEM, row - 1, np.where(turn < facts.EARLIER_ITEM, earlier, row))
        source = np.where(opens, np.where(turn < facts.REOPENED_ITEM, earlier, row), source)
        source = np.where(first, row, source)
        again = source != row
        while not np.array_equal(source, further := source[source]):
            source = further
        item = item[source]

        week = sessions.week[session]
        taste = (
            shop.item_appeal[item]
            - facts.PRICE_EFFECT * shop.item_relative_price[item, week].astype(np.float64)
            + facts.STOCK_EFFECT * shop.item_available[item, week]
            + facts.SEEN_AGAIN * again
        )
        return _Views(session, item, taste)

    def _carts(self, draws: Draws, sessions: _Sessions, views: _Views) -> _Carts:
        """Carts: mostly of the item in view, sometimes of one from a list, sometimes several at once."""
        clock = sessions.by_clock(facts.CART_HOUR_EFFECT, facts.CART_WEEKDAY_EFFECT)
        later = facts.LATER_VIEW * np.minimum(place_in_group(views.session), facts.LATER_VIEWS)
        logit = facts.CART_BASE + (sessions.drive + clock)[views.session] + views.taste + later
        view = np.flatnonzero(draws.happens(sigmoid(logit), len(logit)))
        more = draws.happens(facts.MORE_CARTS, len(view)) * draws.integers(4, len(view))
        unseen = draws.happens(facts.CART_FROM_LIST, len(view))
        hidden = np.zeros(len(logit), dtype=bool)
        hidden[view] = draws.happens(facts.CART_WITHOUT_VIEW, len(view))
        at = np.repeat(view, 1 + more)
        nth = place_in_group(at)
        listed = (nth > 0) | np.repeat(unseen, 1 + more)
        item = np.where(listed, self._neighbour(draws, views.item[at]), views.item[at])
        return _Carts(at, item, nth, hidden)

    def _orders_of(self, draws: Draws, sessions: _Sessions, views: _Views, carts: _Carts) -> _Purchases:
        size, cart_session = len(sessions.owner), views.session[carts.view]
        cart = np.arange(len(carts.view))
        has_cart = np.zeros(size, dtype=bool)
        has_cart[cart_session] = True
        last_cart, taste = np.zeros(size, dtype=np.int64), np.zeros(size)
        last_cart[cart_session] = cart
        np.maximum.at(taste, cart_session, views.taste[carts.view])
        last_view = np.searchsorted(views.session, np.arange(size), side="right") - 1

        clock = sessions.by_clock(facts.BUY_HOUR_EFFECT, facts.BUY_WEEKDAY_EFFECT)
        logit, chance = facts.BUY_BASE + sessions.drive + clock, draws.uniform(size)
        buys = has_cart & (chance < sigmoid(logit + facts.BEST_TASTE * taste))
        left = np.zeros(size, dtype=bool)
        left[1:] = ~is_first(sessions.owner)[1:] & (has_cart & ~buys)[:-1] & ~has_cart[1:]
        recovers = left & (chance < sigmoid(logit + facts.RECOVERY))

        taken = draws.happens(facts.CART_TAKEN, len(cart)) | (last_cart[cart_session] == cart)
        own = cart[taken & buys[cart_session]]
        own_session = cart_session[own]
        last_at = carts.view[last_cart] if len(cart) else last_view
        paid_at = last_at + draws.below(np.minimum(last_view - last_at, 3) + 1)
        begins = is_first(own_session) | draws.happens(facts.NEW_ORDER, len(own))
        from_cart = self._numbered(paid_at[own_session], place_in_group(own_session), carts.item[own], begins)

        back = np.flatnonzero(recovers)
        from_before = self._numbered(
            last_view[back], np.zeros_like(back), carts.item[last_cart[back - 1]], np.ones(len(back), dtype=bool)
        )

        repeats = np.where(
            sessions.trade, draws.integers(facts.TRADE_ORDERS, size), draws.happens(facts.SECOND_ORDER, size)
        )
        again = np.repeat(np.arange(size), repeats * (buys | recovers))
        begins = is_first(again) | ~draws.happens(facts.SAME_ORDER, len(again))
        item = self._neighbour(draws, views.item[last_view[again]])
        repeated = self._numbered(last_view[again], place_in_group(again), item, begins)
        silent = buys & draws.happens(facts.BUYS_WITHOUT_CART, size)
        return _Purchases(from_cart, from_before, repeated, silent[cart_session])

    def _numbered(self, view: Ints, place: Ints, item: Ints, begins: Bools) -> _Orders:
        number = self._orders - 1 + np.cumsum(begins)
        self._orders += int(begins.sum())
        return _Orders(view, place, item, number)

    def _story(self, draws: Draws, views: _Views, carts: _Carts, bought: _Purchases) -> _Actions:
        """Everything in the order in which it happens; a row's place is its view's number times 256 plus a step."""
        shown, kept = np.flatnonzero(~carts.hidden), np.flatnonzero(~bought.silent)
        from_cart, from_before, repeated = bought.from_cart, bought.from_before, bought.repeated
        looked = np.flatnonzero(~draws.happens(facts.REORDER_UNSEEN, len(repeated.view)))
        again = repeated.view * _PLACES + 32 + 2 * repeated.place
        parts = [
            _Actions(shown * _PLACES, VIEW, views.item[shown]),
            _Actions(carts.view[kept] * _PLACES + 1 + carts.nth[kept], CART, carts.item[kept]),
            _Actions(from_before.view * _PLACES + 6, TRANSACTION, from_before.item, from_before.number),
            _Actions(from_cart.view * _PLACES + 7, TRANSACTION, from_cart.item, from_cart.number),
            _Actions(again[looked], VIEW, repeated.item[looked]),
            _Actions(again + 1, CART, repeated.item),
            _Actions(repeated.view * _PLACES + 160 + repeated.place, TRANSACTION, repeated.item, repeated.number),
        ]
        actions = _Actions.in_order(parts)
        twice = draws.happens(facts.DOUBLE_FIRE, len(actions)) & (actions.kind != TRANSACTION)
        return actions.take(np.repeat(np.arange(len(actions)), 1 + twice))

    def _neighbour(self, draws: Draws, item: Ints) -> Ints:
        """Return an item of the same category for each item."""
        return self.catalogue.item_of(self.catalogue.item_category[item], draws.uniform(len(item)))

    def _robots(self, draws: Draws, visitor: Ints) -> Events:
        """Pollers of one item, and crawlers of many at an inhuman pace."""
        count = len(visitor)
        made = self._robots_made + np.arange(count)
        self._robots_made += count
        polls = made % 3 == 0
        size = np.exp(np.log(facts.ROBOT_EVENTS) + 0.9 * np.maximum(even_normal(made), -1.5)).astype(np.int64)
        pace = np.where(polls, 60_000 * (1 + draws.integers(24, count)), 150 + draws.integers(650, count))
        robot = np.repeat(np.arange(count), size)
        nth = place_in_group(robot)
        item = pick(self.catalogue.item_table, draws.uniform(len(robot)))
        item = np.where(polls[robot], item[group_start(robot)], item)
        wait = (pace[robot] * (0.8 + 0.4 * draws.uniform(len(robot)))).astype(np.int64)
        rest = 5 * HOUR_MS + draws.integers(15 * HOUR_MS, len(robot))
        wait = np.where(nth % np.where(polls, 120, 60)[robot] == 0, rest, wait)
        start = self._calendar.first_start(draws, count)[robot]
        kind, order = np.full(len(robot), VIEW), np.full(len(robot), -1)
        return Events.of(start + running_sum(np.where(nth == 0, 0, wait), robot), visitor[robot], kind, item, order)


def _timed(draws: Draws, actions: _Actions, session: Ints, sessions: _Sessions, visitor: Ints) -> Events:
    """Give every row its time; a session's length puts the visitor's next ones off, so gaps stay as drawn."""
    size = len(actions)
    joined = ~is_first(actions.place) | (~is_first(actions.order) & (actions.order >= 0))
    gap = np.where(joined, 15 * (1 + draws.integers(6, size)), _WITHIN_SESSION.at(draws.uniform(size)))
    into = running_sum(np.where(is_first(session), 0, gap), session)
    length = np.zeros(len(sessions.owner), dtype=np.int64)
    np.maximum.at(length, session, into)
    delay = running_sum(length, sessions.owner) - length
    timestamp = (sessions.start + delay)[session] + into
    return Events.of(timestamp, visitor[sessions.owner[session]], actions.kind, actions.item, actions.order)
