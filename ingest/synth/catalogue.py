"""What the synthetic shop sells: a category tree and items with appeal, weekly prices and weekly stock."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ingest.synth import calibration as facts
from ingest.synth.draws import Bools, Draws, Floats, Ints, cumulative_table, pick, sigmoid


@dataclass(frozen=True)
class Catalogue:
    """Categories and items with everything about them that visitors react to."""

    category_id: Ints
    category_parent: Ints  # id of the parent, -1 for a root
    category_root: Ints  # number of the root's group; categories are sorted by it
    category_table: Ints
    root_low: Ints
    root_high: Ints
    item_id: Ints
    item_category: Ints  # position in category_id; items are sorted by it
    item_table: Ints
    category_low: Ints
    category_high: Ints
    item_appeal: Floats
    item_relative_price: NDArray[np.float32]  # log of price over the category's usual price, (item, week)
    item_price: NDArray[np.int32]  # (item, week)
    item_available: Bools  # (item, week)
    item_has_properties: Bools
    item_listed_week: Ints

    @classmethod
    def build(cls, visitors: int, draws: Draws) -> Self:
        """Return the catalogue of a shop with this many visitors."""
        ids, parents, roots = _category_tree(draws)
        weight = _category_popularity(draws, roots)
        by_root = np.argsort(roots, kind="stable")
        ids, parents, roots, weight = ids[by_root], parents[by_root], roots[by_root], weight[by_root]
        root, category = np.arange(facts.ROOT_CATEGORIES), np.arange(len(ids))
        count = catalogue_items(visitors)
        of_item = _items_by_category(draws, weight, count)
        price, relative_price = _weekly_prices(draws, of_item, len(ids))
        late = draws.happens(facts.LISTED_LATER, count)
        return cls(
            category_id=ids,
            category_parent=parents,
            category_root=roots,
            category_table=cumulative_table(weight),
            root_low=np.searchsorted(roots, root, side="left"),
            root_high=np.searchsorted(roots, root, side="right"),
            item_id=draws.order(count),
            item_category=of_item,
            item_table=cumulative_table(_item_popularity(draws, of_item, weight)),
            category_low=np.searchsorted(of_item, category, side="left"),
            category_high=np.searchsorted(of_item, category, side="right"),
            item_appeal=facts.CATEGORY_APPEAL * draws.normal(len(ids))[of_item]
            + facts.ITEM_APPEAL * draws.normal(count),
            item_relative_price=relative_price,
            item_price=price,
            item_available=_weekly_stock(draws, count),
            item_has_properties=~draws.happens(facts.ITEMS_WITHOUT_PROPERTIES, count),
            item_listed_week=np.where(late, draws.integers(facts.SNAPSHOTS, count), 0),
        )

    def item_of(self, category: Ints, shares: Floats) -> Ints:
        """Return an item of each category, by popularity."""
        return pick(self.item_table, shares, self.category_low[category], self.category_high[category])


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
    by_size = np.cumsum(np.array(facts.CATEGORIES_BY_ROOT))
    low, high = 0, facts.ROOT_CATEGORIES
    for size in facts.CATEGORIES_BY_DEPTH[1:]:
        wanted = pick(by_size, draws.uniform(size))
        above = np.argsort(roots[low:high], kind="stable") + low
        first = np.searchsorted(roots[above], wanted, side="left")
        found = np.searchsorted(roots[above], wanted, side="right") - first
        # A root with nothing at this depth has no place for a child: any other parent does.
        own = np.minimum(first + draws.below(np.maximum(found, 1)), len(above) - 1)
        parent = above[np.where(found > 0, own, draws.integers(len(above), size))]
        rows = slice(high, high + size)
        parents[rows], roots[rows] = ids[parent], roots[parent]
        low, high = high, high + size
    return ids, parents, roots


def _category_popularity(draws: Draws, roots: Ints) -> Floats:
    """Weight of every category: the published rank curve, laid out so that busy roots get busy categories."""
    ranks, views = np.array(facts.CATEGORY_VIEWS_BY_RANK).T
    curve = np.exp(np.interp(np.log(np.arange(1, facts.SEEN_CATEGORIES + 1)), np.log(ranks), np.log(views)))
    size = np.bincount(roots, minlength=facts.ROOT_CATEGORIES)
    busy = np.array(facts.ROOT_VIEW_SHARES) / np.maximum(size, 1)
    # Sampling without replacement: the smaller of exponential waiting times comes first.
    wait = -np.log1p(-draws.uniform(len(roots))) / busy[roots]
    weight = np.zeros(len(roots))
    weight[np.argsort(wait, kind="stable")[: facts.SEEN_CATEGORIES]] = np.round(curve, 6)
    return weight


def _items_by_category(draws: Draws, weight: Floats, count: int) -> Ints:
    """Category of every item, sorted; each seen category has at least one item."""
    seen = np.flatnonzero(weight)
    spread = pick(cumulative_table(weight**facts.CATEGORY_SIZE_POWER), draws.uniform(count - len(seen)))
    return np.sort(np.concatenate([seen, spread]))


def _item_popularity(draws: Draws, category: Ints, weight: Floats) -> Floats:
    own = np.exp(facts.ITEM_POPULARITY_SPREAD * draws.normal(len(category)))
    total = np.bincount(category, weights=own, minlength=len(weight))
    return np.asarray(own / total[category] * weight[category])


def _weekly_prices(draws: Draws, category: Ints, categories: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Price and log relative price by item and snapshot week: now and then a new factor on the first price."""
    count = len(category)
    usual = facts.PRICE_LOG_MEAN + facts.PRICE_CATEGORY_SPREAD * draws.normal(categories)
    own = facts.PRICE_ITEM_SPREAD * draws.normal(count)
    factors = np.round(np.log(np.array(facts.PRICE_FACTORS)), 6)
    factor = np.zeros(count)
    relative = np.empty((count, facts.SNAPSHOTS), dtype=np.float32)
    relative[:, 0] = own
    for week in range(1, facts.SNAPSHOTS):
        changed = draws.happens(facts.PRICE_CHANGE_PER_WEEK, count)
        factor = np.where(changed, factors[draws.integers(len(factors), count)], factor)
        relative[:, week] = own + factor
    step = facts.PRICE_STEP
    price = np.maximum(np.round(np.exp(usual[category][:, None] + relative.astype(np.float64)) / step), 1) * step
    return price.astype(np.int32), relative


def _weekly_stock(draws: Draws, count: int) -> Bools:
    """In stock or not, by item and snapshot week: a state that mostly stays as it is."""
    usual = sigmoid(facts.STOCK_MEAN + facts.STOCK_SPREAD * draws.normal(count))
    stock = np.empty((count, facts.SNAPSHOTS), dtype=bool)
    stock[:, 0] = draws.happens(usual, count)
    for week in range(1, facts.SNAPSHOTS):
        again = draws.happens(facts.STOCK_REDRAW_PER_WEEK, count)
        stock[:, week] = np.where(again, draws.happens(usual, count), stock[:, week - 1])
    return stock
