"""Behaviour of the synthetic shop: latent intent, item appeal, price and stock become a click-stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ingest import synth_calibration as facts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

VIEW, CART, TRANSACTION = 0, 1, 2
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
TIMEOUT_MS = 1_800_000
# Bounded memory: one block of visitors at a time, each with its own random stream.
BLOCK_VISITORS = 1 << 18
# Tables are rounded, so that a last-bit difference between two machines' log and exp cannot reach a file.
_NORMAL = np.round(ndtri((np.arange(65_536) + 0.5) / 65_536), 9)


class Draws:
    """Random numbers from the raw PCG64 stream, which numpy keeps fixed between versions.

    Parameters
    ----------
    *key : int
        Seed and stream numbers; equal keys give equal draws.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(list(key)))

    def uniform(self, size: int) -> Floats:
        """Return `size` numbers in [0, 1)."""
        raw = np.asarray(self._bits.random_raw(size), dtype=np.uint64)
        return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, size: int) -> Floats:
        """Return `size` standard normal numbers."""
        raw = np.asarray(self._bits.random_raw(size), dtype=np.uint64)
        return _NORMAL[(raw >> np.uint64(48)).astype(np.int64)]

    def below(self, limit: Ints) -> Ints:
        """Return one integer in [0, limit) for each limit."""
        return np.minimum((self.uniform(len(limit)) * limit).astype(np.int64), limit - 1)

    def order(self, size: int) -> Ints:
        """Return a random permutation of 0 .. size-1."""
        return np.argsort(np.asarray(self._bits.random_raw(size), dtype=np.uint64), kind="stable")


class QuantileTable:
    """Inverse cumulative distribution of a positive duration, log-linear between published quantiles.

    Parameters
    ----------
    points : sequence of (share, value)
        Cumulative share in [0, 1] and value in milliseconds, both rising.
    """

    _CELLS = 1 << 14

    def __init__(self, points: tuple[tuple[float, float], ...]) -> None:
        shares, values = np.array(points).T
        grid = np.linspace(0.0, 1.0, self._CELLS + 1)
        self._table = np.round(np.exp(np.interp(grid, shares, np.log(values)))).astype(np.int64)

    def draw(self, uniforms: Floats) -> Ints:
        """Return milliseconds for uniforms in [0, 1)."""
        scaled = uniforms * self._CELLS
        cell = scaled.astype(np.int64)
        low = self._table[cell]
        return low + ((scaled - cell) * (self._table[cell + 1] - low)).astype(np.int64)


def count_thresholds(head: tuple[float, ...], tail_exponent: float, largest: int) -> Floats:
    """Return the normal scores that cut a standard normal into counts 1, 2, 3, ... `largest`.

    Parameters
    ----------
    head : tuple of float
        Probability of 1, 2, ... ; what is left over is spread on the counts after it.
    tail_exponent : float
        Power with which the left-over probability falls with the count.
    largest : int
        Largest count.

    Returns
    -------
    numpy.ndarray
        `largest` - 1 rising normal scores.
    """
    tail = np.arange(len(head) + 1, largest + 1, dtype=np.float64) ** -tail_exponent
    shares = np.concatenate([head, tail / tail.sum() * (1.0 - sum(head))])
    return np.round(ndtri(np.minimum(np.cumsum(shares)[:-1], 1 - 1e-12)), 9)


def _integer_cumulative(weights: Floats, unit: float = 1e6) -> Ints:
    scaled = np.maximum(np.round(weights / weights.max() * unit), 1).astype(np.int64)
    return np.cumsum(np.where(weights > 0, scaled, 0))


def _pick(cumulative: Ints, uniforms: Floats, low: Any = 0, high: Any = None) -> Ints:
    """Inverse of an integer cumulative table, restricted to entries low .. high-1 of it."""
    ends = len(cumulative) if high is None else high
    before = np.where(np.asarray(low) > 0, cumulative[np.maximum(np.asarray(low) - 1, 0)], 0)
    target = before + (uniforms * (cumulative[np.asarray(ends) - 1] - before)).astype(np.int64)
    return np.searchsorted(cumulative, target, side="right").astype(np.int64)


def _sigmoid(logit: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-logit))


def _group_starts(group: Ints) -> Ints:
    """Index of the first row of each row's group, for rows sorted by group."""
    index = np.arange(len(group))
    first = np.ones(len(group), dtype=bool)
    first[1:] = group[1:] != group[:-1]
    return np.maximum.accumulate(np.where(first, index, 0))


@dataclass(frozen=True)
class Catalogue:
    """Categories and items with everything about them that visitors react to."""

    category_id: Ints
    category_parent: Ints  # id of the parent, -1 for a root
    category_root: Ints  # number of the root's group
    category_cumulative: Ints
    category_low: Ints  # first seen category of each root, in the order of category_cumulative
    category_high: Ints
    item_id: Ints
    item_category: Ints
    item_cumulative: Ints
    item_low: Ints
    item_high: Ints
    item_appeal: Floats
    item_relative_price: NDArray[np.float32]  # log of price over the category's usual price, (item, week)
    item_price: NDArray[np.int32]  # (item, week)
    item_available: Bools  # (item, week)
    item_has_properties: Bools
    item_listed_week: Ints

    @classmethod
    def build(cls, visitors: int, seed: int) -> Self:
        """Return the catalogue of a shop with this many visitors."""
        draws = Draws(seed, 1)
        ids, parents, roots = _category_tree(draws)
        weight = _category_popularity(draws, roots)
        by_root = np.argsort(roots, kind="stable")
        ids, parents, roots, weight = ids[by_root], parents[by_root], roots[by_root], weight[by_root]
        groups = np.arange(facts.ROOT_CATEGORIES)
        count = catalogue_items(visitors)
        category = _items_by_category(draws, weight, count)
        item_weight = _item_popularity(draws, category, weight)
        appeal = 0.35 * draws.normal(len(ids))[category] + 0.65 * draws.normal(count)
        price, relative = _weekly_prices(draws, category, len(ids))
        return cls(
            category_id=ids,
            category_parent=parents,
            category_root=roots,
            category_cumulative=_integer_cumulative(weight),
            category_low=np.searchsorted(roots, groups, side="left"),
            category_high=np.searchsorted(roots, groups, side="right"),
            item_id=draws.order(round(count * facts.ITEM_ID_SPREAD))[:count],
            item_category=category,
            item_cumulative=_integer_cumulative(item_weight),
            item_low=np.searchsorted(category, np.arange(len(ids)), side="left"),
            item_high=np.searchsorted(category, np.arange(len(ids)), side="right"),
            item_appeal=appeal,
            item_relative_price=relative,
            item_price=price,
            item_available=_weekly_stock(draws, count),
            item_has_properties=draws.uniform(count) >= facts.ITEMS_WITHOUT_PROPERTIES,
            item_listed_week=np.where(
                draws.uniform(count) < 0.85, 0, draws.below(np.full(count, facts.SNAPSHOTS, dtype=np.int64))
            ),
        )


def catalogue_items(visitors: int) -> int:
    """Return the number of items of a shop with this many visitors.

    In proportion up to the original's size, by the square root above it, and never under 3,000.
    """
    scale = visitors / facts.VISITORS
    return max(3_000, round(facts.ITEMS * (scale if scale <= 1 else scale**0.5)))


def _category_tree(draws: Draws) -> tuple[Ints, Ints, Ints]:
    """Ids, parent ids (-1 for a root) and root group of every category, by depth."""
    ids = draws.order(facts.CATEGORY_ID_RANGE)[: facts.CATEGORIES]
    parents, roots = np.full(facts.CATEGORIES, -1), np.arange(facts.CATEGORIES)
    root_cumulative = np.cumsum(np.array(facts.CATEGORIES_BY_ROOT))
    low, high = 0, facts.ROOT_CATEGORIES
    for size in facts.CATEGORIES_BY_DEPTH[1:]:
        wanted = _pick(root_cumulative, draws.uniform(size))
        above = np.argsort(roots[low:high], kind="stable") + low
        first = np.searchsorted(roots[above], wanted, side="left")
        last = np.searchsorted(roots[above], wanted, side="right")
        parent = np.where(
            last > first,
            above[np.minimum(first + draws.below(np.maximum(last - first, 1)), len(above) - 1)],
            above[draws.below(np.full(size, len(above)))],
        )
        rows = np.arange(high, high + size)
        parents[rows], roots[rows] = ids[parent], roots[parent]
        low, high = high, high + size
    return ids, parents, roots


def _category_popularity(draws: Draws, roots: Ints) -> Floats:
    """Weight of every category: the published rank curve, laid out so that busy roots get busy categories."""
    ranks, views = np.array(facts.CATEGORY_VIEWS_BY_RANK).T
    curve = np.exp(np.interp(np.log(np.arange(1, facts.SEEN_CATEGORIES + 1)), np.log(ranks), np.log(views)))
    size = np.bincount(roots, minlength=facts.ROOT_CATEGORIES)
    busy = np.array(facts.ROOT_VIEW_SHARES) / np.maximum(size, 1)
    key = -np.log1p(-draws.uniform(len(roots))) / busy[roots]
    weight = np.zeros(len(roots))
    weight[np.argsort(key, kind="stable")[: facts.SEEN_CATEGORIES]] = np.round(curve, 6)
    return weight


def _items_by_category(draws: Draws, weight: Floats, count: int) -> Ints:
    """Category of every item, sorted; each seen category has at least one item."""
    seen = np.flatnonzero(weight)
    spread = _pick(_integer_cumulative(weight**0.75), draws.uniform(count - len(seen)))
    return np.sort(np.concatenate([seen, spread]))


def _item_popularity(draws: Draws, category: Ints, weight: Floats) -> Floats:
    own = np.exp(facts.ITEM_POPULARITY_SPREAD * draws.normal(len(category)))
    total = np.bincount(category, weights=own, minlength=len(weight))
    return own / total[category] * weight[category]


def _weekly_prices(draws: Draws, category: Ints, categories: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Price and log relative price by item and snapshot week; about one week in twenty changes a price."""
    count = len(category)
    usual = 10.9 + 0.9 * draws.normal(categories)
    own = 0.5 * draws.normal(count)
    factors = np.array(facts.PRICE_FACTORS)
    relative = np.empty((count, facts.SNAPSHOTS), dtype=np.float32)
    current = np.zeros(count)
    for week in range(facts.SNAPSHOTS):
        move = draws.uniform(count) < facts.PRICE_CHANGE_PER_WEEK
        choice = np.round(np.log(factors), 6)[draws.below(np.full(count, len(factors)))]
        current = np.where(move, choice, current) if week else current
        relative[:, week] = own + current
    price = np.maximum(np.round(np.exp(usual[category][:, None] + relative.astype(np.float64)) / 120), 1) * 120
    return np.minimum(price, 2_000_000_000).astype(np.int32), relative


def _weekly_stock(draws: Draws, count: int) -> Bools:
    """In stock or not, by item and snapshot week: a chain that mostly stays as it is."""
    usual = np.round(_sigmoid(-0.4 + 2.2 * draws.normal(count)), 9)
    stock = np.empty((count, facts.SNAPSHOTS), dtype=bool)
    stock[:, 0] = draws.uniform(count) < usual
    for week in range(1, facts.SNAPSHOTS):
        again = draws.uniform(count) < facts.STOCK_REDRAW_PER_WEEK
        stock[:, week] = np.where(again, draws.uniform(count) < usual, stock[:, week - 1])
    return stock


@dataclass
class Events:
    """Columns of a block of events; `order` is -1 where the row is no transaction."""

    timestamp: Ints
    visitor: NDArray[np.int32]
    kind: NDArray[np.int8]
    item: NDArray[np.int32]
    order: NDArray[np.int32]

    @classmethod
    def concatenate(cls, blocks: list[Self]) -> Self:
        """Return the blocks as one."""
        return cls(
            *(
                np.concatenate([getattr(b, n) for b in blocks])
                for n in ("timestamp", "visitor", "kind", "item", "order")
            )
        )

    def take(self, rows: Any) -> Self:
        """Return the chosen rows."""
        return type(self)(self.timestamp[rows], self.visitor[rows], self.kind[rows], self.item[rows], self.order[rows])

    def __len__(self) -> int:
        return len(self.timestamp)


class Calendar:
    """When first sessions start, by local hour of the period, so that the days add up to the published ones."""

    def __init__(self) -> None:
        local_start = facts.PERIOD_START_MS + facts.PUBLISHED_OFFSET_MS
        self.first_day_ms = local_start // DAY_MS * DAY_MS
        days = len(facts.SESSIONS_BY_DAY)
        cell_start = self.first_day_ms + np.arange(days * 24) * HOUR_MS - facts.PUBLISHED_OFFSET_MS
        inside = (cell_start >= facts.PERIOD_START_MS) & (cell_start < facts.PERIOD_END_MS)
        hours = np.array(facts.EVENTS_BY_HOUR, dtype=np.float64)
        grid = np.tile(hours, (days, 1)) * inside.reshape(days, 24)
        grid /= grid.sum(axis=1, keepdims=True)
        self._cells = _integer_cumulative((np.round(grid, 9) * self._first_sessions()[:, None]).ravel(), 1e9)
        self._hours = np.cumsum(np.array(facts.EVENTS_BY_HOUR))

    @staticmethod
    def _first_sessions() -> Floats:
        """First sessions by day = all sessions less those that return, solved day by day."""
        target = np.array(facts.SESSIONS_BY_DAY, dtype=np.float64)
        days = len(target)
        gap = (
            np.bincount(
                np.minimum(BETWEEN_SESSIONS.draw((np.arange(20_000) + 0.5) / 20_000) // DAY_MS, days),
                minlength=days + 1,
            )[:days]
            / 20_000
        )
        more = 1.0 - np.round(_normal_share(SESSION_THRESHOLDS), 9)
        returns, kernel = np.zeros(days), gap.copy()
        for share in more[:40]:
            returns += share * kernel
            kernel = np.convolve(kernel, gap)[:days]
        first = np.zeros(days)
        for day in range(days):
            came_back = float((first[:day] * returns[day:0:-1]).sum()) if day else 0.0
            first[day] = max((target[day] - came_back) / (1.0 + returns[0]), 0.2 * target[day])
        return np.round(first, 3)

    def first_start(self, draws: Draws, size: int) -> Ints:
        """Return first session starts, ms UTC."""
        cell = _pick(self._cells, draws.uniform(size))
        within = (draws.uniform(size) * HOUR_MS).astype(np.int64)
        return np.asarray(self.first_day_ms + cell * HOUR_MS + within - facts.PUBLISHED_OFFSET_MS)

    def same_day(self, draws: Draws, start: Ints) -> Ints:
        """Return another moment of each start's local day, by the hour profile."""
        local_day = (start + facts.PUBLISHED_OFFSET_MS) // DAY_MS * DAY_MS
        hour = _pick(self._hours, draws.uniform(len(start)))
        within = (draws.uniform(len(start)) * HOUR_MS).astype(np.int64)
        return np.asarray(local_day + hour * HOUR_MS + within - facts.PUBLISHED_OFFSET_MS)


def _normal_share(score: Floats) -> Floats:
    from scipy.special import ndtr

    return np.asarray(ndtr(score))


WITHIN_SESSION = QuantileTable(facts.WITHIN_SESSION_GAPS_MS)
BETWEEN_SESSIONS = QuantileTable(facts.BETWEEN_SESSION_GAPS_MS)
SESSION_THRESHOLDS = count_thresholds(facts.SESSIONS_HEAD, facts.SESSIONS_TAIL, facts.SESSIONS_LARGEST)
VIEW_THRESHOLDS = count_thresholds(facts.VIEWS_HEAD, facts.VIEWS_TAIL, facts.VIEWS_LARGEST)


class Shop:
    """The synthetic shop: a catalogue, a calendar and visitors.

    Parameters
    ----------
    visitors : int
        Number of visitors.
    seed : int
        Equal seeds give equal files.
    """

    def __init__(self, visitors: int, seed: int) -> None:
        self.visitors, self.seed = visitors, seed
        self.catalogue = Catalogue.build(visitors, seed)
        self.calendar = Calendar()
        self._orders = 0

    def blocks(self) -> Iterator[Events]:
        """Yield the events of one block of visitors after the other."""
        for number, low in enumerate(range(0, self.visitors, BLOCK_VISITORS)):
            high = min(low + BLOCK_VISITORS, self.visitors)
            yield self._block(Draws(self.seed, 2, number), low, high)

    def _block(self, draws: Draws, low: int, high: int) -> Events:
        count = high - low
        shuffled = draws.order(count)
        bots = shuffled[: round(high * facts.BOT_SHARE) - round(low * facts.BOT_SHARE)]
        human = np.ones(count, dtype=bool)
        human[bots] = False
        people = self._people(draws, np.flatnonzero(human) + low)
        robots = self._robots(draws, bots + low)
        events = Events.concatenate([people, robots])
        return events.take((events.timestamp >= facts.PERIOD_START_MS) & (events.timestamp < facts.PERIOD_END_MS))

    def _people(self, draws: Draws, visitor: Ints) -> Events:
        shop, count = self.catalogue, len(visitor)
        trade = draws.uniform(count) < facts.TRADE_SHARE
        intent = np.where(trade, facts.TRADE_INTENT, draws.normal(count))
        engagement = draws.normal(count)

        score = _mix(draws, (facts.RETURN_INTENT, intent), (0.30, engagement))
        sessions = np.searchsorted(SESSION_THRESHOLDS, score) + 1
        sessions = np.where(trade, 8 + draws.below(np.full(count, 30)), sessions)
        owner = np.repeat(np.arange(count), sessions)
        start = self._session_starts(draws, owner)
        inside = (start >= facts.PERIOD_START_MS) & (start < facts.PERIOD_END_MS)
        owner, start = owner[inside], start[inside]
        number = np.arange(len(owner)) - _group_starts(owner)

        mood = draws.normal(len(owner))
        score = _mix(draws, (facts.VIEW_INTENT, intent[owner]), (facts.VIEW_ENGAGEMENT, engagement[owner]), (0.25, mood))
        views = np.searchsorted(VIEW_THRESHOLDS, score) + 1
        session = np.repeat(np.arange(len(owner)), views)
        item, again = self._viewed_items(draws, session, owner[session])

        week = np.clip((start - facts.FIRST_SNAPSHOT_MS) // WEEK_MS, 0, facts.SNAPSHOTS - 1)[session]
        local = start + facts.PUBLISHED_OFFSET_MS
        hour, weekday = local // HOUR_MS % 24, (local // DAY_MS + 3) % 7
        drive = facts.INTENT * intent[owner] + facts.MOOD * mood + facts.RETURNING * (number > 0)
        taste = (
            shop.item_appeal[item]
            - facts.PRICE_EFFECT * shop.item_relative_price[item, week].astype(np.float64)
            + facts.STOCK_EFFECT * shop.item_available[item, week]
            + facts.SEEN_AGAIN * again
        )
        cart_drive = drive + np.array(facts.CART_HOUR_EFFECT)[hour] + np.array(facts.CART_WEEKDAY_EFFECT)[weekday]
        carted = draws.uniform(len(item)) < _sigmoid(facts.CART_BASE + cart_drive[session] + taste)
        buy_drive = drive + np.array(facts.BUY_HOUR_EFFECT)[hour] + np.array(facts.BUY_WEEKDAY_EFFECT)[weekday]
        rows = self._actions(draws, owner, session, item, carted, facts.BUY_BASE + buy_drive, taste, trade[owner])
        return self._timed(draws, visitor, owner, start, rows)

    def _session_starts(self, draws: Draws, owner: Ints) -> Ints:
        """Starts of sessions, ms UTC, as if a session took no time; gaps over half a day end at a usual hour."""
        first = self.calendar.first_start(draws, int(owner[-1]) + 1)
        head = _group_starts(owner)
        begins = head == np.arange(len(owner))
        gap = np.where(begins, 0, BETWEEN_SESSIONS.draw(draws.uniform(len(owner))))
        raw = first[owner] + _cumulative_in_group(gap, head)
        anchor = np.maximum.accumulate(np.where(begins | (gap > DAY_MS // 2), np.arange(len(owner)), 0))
        moved = self.calendar.same_day(draws, raw)
        shift = np.where(begins, 0, moved - raw)[anchor]
        new_gap = gap + np.where(begins, 0, shift - np.roll(shift, 1))
        gap = np.where(new_gap > TIMEOUT_MS + 1_000, new_gap, gap)
        return first[owner] + _cumulative_in_group(gap, head)

    def _viewed_items(self, draws: Draws, session: Ints, person: Ints) -> tuple[Ints, Bools]:
        """Item of every view, and whether this visitor has seen it before."""
        shop, size = self.catalogue, len(session)
        row = np.arange(size)
        session_head, person_head = _group_starts(session), _group_starts(person)
        opens, first = session_head == row, person_head == row

        # Interest: the category of the row before, another one of the same root, or a new start.
        turn = draws.uniform(size)
        new_root = first | (turn < np.where(opens, 0.55, facts.NEW_CATEGORY))
        new_category = new_root | (turn < np.where(opens, 0.75, facts.NEW_CATEGORY + facts.SIBLING_CATEGORY))
        pick = draws.uniform(size)
        started = _pick(shop.category_cumulative, pick)
        root = shop.category_root[started][_latest(new_root)]
        related = _pick(shop.category_cumulative, pick, shop.category_low[root], shop.category_high[root])
        category = np.where(new_root, started, related)[_latest(new_category)]
        item = _pick(shop.item_cumulative, draws.uniform(size), shop.item_low[category], shop.item_high[category])
        # A new item that happens to be the one before is drawn once more: small shops have few items a category.
        other = _pick(shop.item_cumulative, draws.uniform(size), shop.item_low[category], shop.item_high[category])
        item = np.where(item == np.roll(item, 1), other, item)

        # Attention: the same item again, one seen earlier, or another.
        turn = draws.uniform(size)
        earlier = np.where(opens, np.maximum(person_head, row - 6), session_head)
        back = earlier + draws.below(np.maximum(row - earlier, 1))
        source = np.where(
            turn < facts.SAME_ITEM, row - 1, np.where(turn < facts.SAME_ITEM + facts.EARLIER_ITEM, back, row)
        )
        source = np.where(opens, np.where(turn < facts.REOPENED_ITEM, back, row), source)
        source = np.where(first, row, source)
        again = source != row
        while not np.array_equal(source, further := source[source]):
            source = further
        return item[source], again

    def _actions(
        self,
        draws: Draws,
        owner: Ints,
        session: Ints,
        item: Ints,
        carted: Bools,
        buy_logit: Floats,
        taste: Floats,
        trade: Bools,
    ) -> "Rows":
        """Views, carts and orders of every session, in the order in which they happen."""
        sessions = len(owner)
        view = np.arange(len(session))
        cart_view = np.flatnonzero(carted)
        last_view = np.searchsorted(session, np.arange(sessions), side="right") - 1

        # Carts: mostly of the item in view, sometimes of one from a list, sometimes several.
        others = draws.below(np.full(len(cart_view), 4)) * (draws.uniform(len(cart_view)) < facts.MORE_CARTS)
        from_list = draws.uniform(len(cart_view)) < facts.CART_FROM_LIST
        cart_at = np.repeat(cart_view, 1 + others)
        nth = np.arange(len(cart_at)) - _group_starts(cart_at)
        listed = (nth > 0) | np.repeat(from_list, 1 + others)
        cart_item = np.where(listed, self._neighbours(draws, item[cart_at]), item[cart_at])
        hidden = np.zeros(len(view), dtype=bool)
        hidden[cart_view] = draws.uniform(len(cart_view)) < facts.CART_WITHOUT_VIEW

        # Who buys: sessions with a cart, and some that come back for the cart of the session before.
        has_cart = np.zeros(sessions, dtype=bool)
        has_cart[session[cart_view]] = True
        best = np.full(sessions, -9.0)
        np.maximum.at(best, session[cart_view], taste[cart_view])
        chance = draws.uniform(sessions)
        buys = has_cart & (chance < _sigmoid(buy_logit + 0.5 * best))
        left = np.zeros(sessions, dtype=bool)
        left[1:] = (owner[1:] == owner[:-1]) & (has_cart & ~buys)[:-1] & ~has_cart[1:]
        recovers = left & (chance < _sigmoid(buy_logit + facts.RECOVERY))
        silent = buys & (draws.uniform(sessions) < facts.BUYS_WITHOUT_CART)

        # What they buy: some of the session's carts, in one order or in several.
        cart_session = session[cart_at]
        cart_last = np.zeros(sessions, dtype=np.int64)
        cart_last[cart_session] = np.arange(len(cart_at))
        taken = buys[cart_session] & (
            (draws.uniform(len(cart_at)) < facts.CART_TAKEN) | (cart_last[cart_session] == np.arange(len(cart_at)))
        )
        own = np.flatnonzero(taken)
        own_session = cart_session[own]
        last_cart_view = cart_at[cart_last]
        wait = draws.below(np.minimum(last_view - last_cart_view, 3) + 1)
        own_view = (last_cart_view + wait)[own_session]
        split = (draws.uniform(len(own)) < facts.NEW_ORDER) & (own_session == np.roll(own_session, 1))
        own_order = np.cumsum(split | (own_session != np.roll(own_session, 1))) if len(own) else own
        back = np.flatnonzero(recovers)
        back_item = cart_item[cart_last[back - 1]]
        orders = int(own_order[-1]) if len(own) else 0

        # Buyers who order again at once; trade customers do so many times.
        repeats = np.where(
            trade, draws.below(np.full(sessions, facts.TRADE_ORDERS)), draws.uniform(sessions) < facts.SECOND_ORDER
        ) * (buys | recovers)
        again = np.repeat(np.arange(sessions), repeats)
        again_view = last_view[again]
        again_item = self._neighbours(draws, item[again_view])
        again_nth = np.arange(len(again)) - _group_starts(again)
        again_order = np.cumsum((again_nth == 0) | (draws.uniform(len(again)) >= facts.SAME_ORDER)) - 1

        keep_cart = ~silent[cart_session]
        shown = view[~hidden]
        parts = [
            Rows(shown * 256, VIEW, item[shown]),
            Rows(cart_at[keep_cart] * 256 + 1 + nth[keep_cart], CART, cart_item[keep_cart]),
            Rows(own_view * 256 + 8 + own_order % 2, TRANSACTION, cart_item[own], own_order + self._orders),
            Rows(last_view[back] * 256 + 7, TRANSACTION, back_item, np.arange(len(back)) + self._orders + orders + 1),
            Rows(again_view * 256 + 20 + again_nth, CART, again_item),
            Rows(again_view * 256 + 60 + again_nth, TRANSACTION, again_item, again_order + self._orders + orders + len(back) + 1),
        ]
        self._orders += orders + len(back) + (int(again_order[-1]) + 1 if len(again) else 0)
        rows = Rows.concatenate(parts)
        rows = rows.take(np.argsort(rows.place, kind="stable"))

        # The same click sent twice.
        twice = (rows.kind != TRANSACTION) & (draws.uniform(len(rows.place)) < facts.DOUBLE_FIRE)
        rows = rows.take(np.repeat(np.arange(len(rows.place)), 1 + twice))
        rows.session = session[rows.place // 256]
        return rows

    def _neighbours(self, draws: Draws, item: Ints) -> Ints:
        """Return another item of the same category for each item."""
        shop, category = self.catalogue, self.catalogue.item_category[item]
        return _pick(shop.item_cumulative, draws.uniform(len(item)), shop.item_low[category], shop.item_high[category])

    def _timed(self, draws: Draws, visitor: Ints, owner: Ints, start: Ints, rows: "Rows") -> Events:
        """Give every row its time: gaps within the session, then the next session later by this one's length."""
        size = len(rows.place)
        previous = np.arange(size) - 1
        joined = (rows.kind == rows.kind[previous]) & (
            ((rows.place == rows.place[previous]) & (rows.kind != TRANSACTION))
            | ((rows.kind == TRANSACTION) & (rows.order == rows.order[previous]))
        )
        gap = np.where(joined, 10 + 15 * draws.below(np.full(size, 6)), WITHIN_SESSION.draw(draws.uniform(size)))
        head = _group_starts(rows.session)
        gap[head == np.arange(size)] = 0
        into = _cumulative_in_group(gap, head)
        length = np.zeros(len(owner), dtype=np.int64)
        np.maximum.at(length, rows.session, into)
        delay = _cumulative_in_group(length, _group_starts(owner)) - length
        return Events(
            (start + delay)[rows.session] + into,
            visitor[owner[rows.session]].astype(np.int32),
            rows.kind.astype(np.int8),
            rows.item.astype(np.int32),
            rows.order.astype(np.int32),
        )

    def _robots(self, draws: Draws, visitor: Ints) -> Events:
        """Pollers of one item and crawlers at an inhuman pace, in turn."""
        shop, count = self.catalogue, len(visitor)
        if not count:
            return Events(*(np.zeros(0, dtype=t) for t in (np.int64, np.int32, np.int8, np.int32, np.int32)))
        polls = np.arange(count) % 2 == 0
        size = np.exp(np.log(facts.BOT_EVENTS) + 0.9 * np.clip(draws.normal(count), -1.5, 2.6)).astype(np.int64)
        pace = np.where(polls, 60_000 * (1 + draws.below(np.full(count, 24))), 150 + draws.below(np.full(count, 650)))
        robot = np.repeat(np.arange(count), size)
        nth = np.arange(len(robot)) - _group_starts(robot)
        any_item = _pick(shop.item_cumulative, draws.uniform(len(robot)))
        item = np.where(polls[robot], any_item[_group_starts(robot)], any_item)
        wobble = 0.8 + 0.4 * draws.uniform(len(robot))
        gap = np.where(nth == 0, 0, (pace[robot] * wobble).astype(np.int64))
        # A poller's machine is off for some hours now and then.
        gap += np.where(polls[robot] & (nth % 120 == 119), 9 * HOUR_MS, 0)
        start = self.calendar.first_start(draws, count)
        return Events(
            start[robot] + _cumulative_in_group(gap, _group_starts(robot)),
            visitor[robot].astype(np.int32),
            np.full(len(robot), VIEW, dtype=np.int8),
            item.astype(np.int32),
            np.full(len(robot), -1, dtype=np.int32),
        )


class Rows:
    """Actions before they have a time: place in the session's story, kind, item, order number (-1 = none)."""

    def __init__(self, place: Ints, kind: Any, item: Ints, order: Ints | None = None) -> None:
        self.place, self.item = place, item
        self.kind: Ints = np.broadcast_to(np.asarray(kind, dtype=np.int64), place.shape).copy()
        self.order: Ints = np.full(len(place), -1) if order is None else order
        self.session: Ints = np.zeros(0, dtype=np.int64)

    @classmethod
    def concatenate(cls, parts: list["Rows"]) -> "Rows":
        """Return the parts as one."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("place", "kind", "item", "order")))

    def take(self, index: Ints) -> "Rows":
        """Return the chosen rows."""
        return Rows(self.place[index], self.kind[index], self.item[index], self.order[index])


def _mix(draws: Draws, *parts: tuple[float, Floats]) -> Floats:
    """Weighted sum of standard normal numbers, filled up with noise to a standard normal number."""
    size = len(parts[0][1])
    noise = (1.0 - sum(weight**2 for weight, _ in parts)) ** 0.5
    total = noise * draws.normal(size)
    for weight, values in parts:
        total = total + weight * values
    return np.asarray(total)


def _latest(flag: Bools) -> Ints:
    """Index of the latest row at or before each row whose flag is set."""
    return np.maximum.accumulate(np.where(flag, np.arange(len(flag)), 0))


def _cumulative_in_group(values: Ints, head: Ints) -> Ints:
    """Running sum that starts again at each group's first row."""
    total = np.cumsum(values)
    return np.asarray(total - (total - values)[head])
