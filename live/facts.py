"""What the warehouse knows when a build has ended: read once, by the warehouse's own interface, and let go."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from live.chain import ITEMS, Chain
from live.compile import Compiled
from live.quick import QuickChain
from live.slices import Slices
from ml.data.build import Build, whole_build
from warehouse.base import RAW_SCHEMA, Warehouse
from warehouse.sqlite import UnportableError

if TYPE_CHECKING:
    import pyarrow as pa

SETTINGS_SQL = "select settings_json, started_at from funnelift.build_plan"
CLOCK_SQL = "select high_water_mark_ms from funnelift.int_clock"
EVENT_COLUMNS = ("event_key", "visitor_key", "item_key", "transaction_id", "own_category_id", "event_rank",
                 "own_price", "quantity", "event_id", "event_ms")  # fmt: skip
ITEM_COLUMNS = ("event_key", "category_id", "price", "is_repeated_order")
PROPERTY_COLUMNS = ("timestamp", "itemid", "property", "value")
ASSIGNMENTS = "stg_treatment_assignments"
ASSIGNMENT_COLUMNS = ("visitor_id", "treatment", "assigned_ms", "propensity", "stratum", "offer")
NO_CATEGORY = -1
LOGGER = logging.getLogger("live")


@dataclass(frozen=True)
class BuildPlan:
    """The build that the marts come from, its settings (dbt's vars), and when it began."""

    build: Build
    settings: Mapping[str, Any]
    started_ms: int


@dataclass(frozen=True)
class Tables:
    """Rows as the warehouse gave them."""

    plan: BuildPlan
    high_water_mark_ms: int
    events: "pa.Table"
    event_items: "pa.Table"
    visitors: "pa.Table"
    items: "pa.Table"
    properties: "pa.Table"
    tree: "pa.Table"
    assignments: "pa.Table"


@dataclass(frozen=True)
class Facts:
    """The same, laid out so that what a visitor, an item or a category needs is one slice."""

    plan: BuildPlan
    kinds: tuple[str, ...]
    items: dict[str, int]
    history: Slices
    event_items: Slices
    event_categories: Slices
    categories: dict[str, int]
    attributes: Slices
    tree: "pa.Table"
    orders: dict[str, list[str]]
    assignments: "pa.Table"
    visitor_count: int
    event_count: int

    def some_visitors(self, most: int) -> set[str]:
        """Visitors of the history, from all over it."""
        return set(self.history.some("visitorid", most))


def read_plan(warehouse: Warehouse) -> BuildPlan:
    """Read which build the marts come from.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    BuildPlan
        The last build.

    Raises
    ------
    GateError
        When it has not ended.
    """
    build = whole_build(warehouse)
    (row,) = warehouse.query(SETTINGS_SQL)
    return BuildPlan(
        build, json.loads(row["settings_json"]), round(row["started_at"].replace(tzinfo=UTC).timestamp() * 1000)
    )


def read_tables(warehouse: Warehouse, plan: BuildPlan) -> Tables:
    """Read what features need of the whole shop.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    plan : BuildPlan
        Its build.

    Returns
    -------
    Tables
        Rows in memory.
    """
    raw = str(plan.settings.get("raw_schema", RAW_SCHEMA))
    properties = str(plan.settings.get("raw_item_properties_table", "raw_item_properties"))
    (clock,) = warehouse.query(CLOCK_SQL)
    return Tables(
        plan,
        int(clock["high_water_mark_ms"] or 0),
        events=_read(warehouse, "int_events", EVENT_COLUMNS),
        event_items=_read(warehouse, "int_event_items", ITEM_COLUMNS),
        visitors=_read(warehouse, "int_visitors", ("visitor_key", "visitor_id")),
        items=_read(warehouse, ITEMS, ("item_key", "item_id")),
        properties=_read(warehouse, properties, PROPERTY_COLUMNS, raw),
        tree=_read(warehouse, "stg_categories", ("category_id", "parent_category_id")),
        assignments=_read(warehouse, ASSIGNMENTS, ASSIGNMENT_COLUMNS),
    )


def _read(warehouse: Warehouse, table: str, columns: tuple[str, ...], schema: str = "funnelift") -> "pa.Table":
    import pyarrow as pa

    if not warehouse.columns(table, schema):
        return pa.table({name: pa.nulls(0, pa.string()) for name in columns})
    found = list(warehouse.read(table, columns, schema=schema)[1])
    return pa.Table.from_batches(found) if found else pa.table({name: pa.nulls(0, pa.string()) for name in columns})


def lay_out(tables: Tables, compiled: Compiled) -> tuple[Facts, Chain | QuickChain]:
    """Lay the rows out for look-ups, and make the chain that runs on them.

    Parameters
    ----------
    tables : Tables
        What was read.
    compiled : Compiled
        The models.

    Returns
    -------
    Facts
        Rows by visitor, item and category.
    Chain or QuickChain
        The models, ready to run; on DuckDB alone where SQLite does not know their SQL.
    """
    import pyarrow as pa

    chain = Chain(compiled, tables.high_water_mark_ms)
    kinds = tuple(chain.kinds())
    items = _all_items(tables)
    events = tables.events.take(pa.array(np.argsort(_numbers(tables.events, "event_key"), kind="stable")))
    of_items = tables.event_items.take(pa.array(np.argsort(_numbers(tables.event_items, "event_key"), kind="stable")))
    ms, visitor_key = _numbers(events, "event_ms"), _numbers(events, "visitor_key")
    visitor_ids = _looked_up(tables.visitors, "visitor_key", "visitor_id", visitor_key)
    item_keys = _numbers(events, "item_key")
    shown = pa.table({
        "item_key": item_keys, "visitor_key": visitor_key, "event_rank": _numbers(events, "event_rank"),
        "is_repeated_order": _numbers(of_items, "is_repeated_order"),
        "category_id": of_items["category_id"].cast(pa.string()),
        "price": _money(of_items["price"]), "event_ms": ms,
    })  # fmt: skip
    codes, categories = _category_codes(shown["category_id"])
    attributes = chain.attributes(_properties(tables.properties), _item_table(items))
    attribute_keys = _numbers(attributes, "item_key")
    return Facts(
        plan=tables.plan,
        kinds=kinds,
        items=items,
        history=Slices(_raw_rows(events, tables, kinds, visitor_ids), visitor_hashes(visitor_ids), ms),
        event_items=Slices(shown, item_keys, ms),
        event_categories=Slices(shown, codes, ms),
        categories=categories,
        attributes=Slices(attributes, attribute_keys, _numbers(attributes, "valid_from_ms")),
        tree=tables.tree,
        orders=_orders(events, visitor_ids),
        assignments=tables.assignments,
        visitor_count=len(tables.visitors),
        event_count=len(events),
    ), quick_chain(chain, tables.high_water_mark_ms)


def quick_chain(chain: Chain, high_water_mark_ms: int) -> Chain | QuickChain:
    """The chain on SQLite, where that can run these models."""
    try:
        quick = QuickChain(chain)
    except UnportableError as error:
        LOGGER.warning("features come from DuckDB alone, which is slower: %s", error)
        return chain
    quick.set_clock(high_water_mark_ms)
    return quick


def visitor_hashes(ids: "pa.Array") -> npt.NDArray[np.uint64]:
    """Hash visitors' ids to numbers; two with one number are looked at together, which does no harm."""
    import pandas as pd

    return np.asarray(pd.util.hash_array(ids.to_numpy(zero_copy_only=False).astype(object), categorize=False))


def _raw_rows(events: "pa.Table", tables: Tables, kinds: tuple[str, ...], visitor_ids: "pa.Array") -> "pa.Table":
    """Events as rows of raw_events, the columns in their order there, with the visitor's key behind them."""
    import pyarrow as pa

    rank = _numbers(events, "event_rank")
    return pa.table({
        "timestamp": _numbers(events, "event_ms"),
        "visitorid": visitor_ids,
        "event": pa.DictionaryArray.from_arrays(pa.array(rank - 1), pa.array(kinds, pa.string())),
        "itemid": _looked_up(tables.items, "item_key", "item_id", _numbers(events, "item_key")),
        "transactionid": events["transaction_id"].cast(pa.string()),
        "price": _money(events["own_price"]),
        "categoryid": events["own_category_id"].cast(pa.string()),
        "quantity": _money(events["quantity"]),
        "event_id": events["event_id"].cast(pa.string()),
        "line_number": np.zeros(len(events), dtype=np.int64),
        "load_number": np.zeros(len(events), dtype=np.int64),
        "visitor_key": _numbers(events, "visitor_key"),
    })  # fmt: skip


def _numbers(rows: "pa.Table", name: str) -> npt.NDArray[np.int64]:
    import pyarrow as pa

    return np.asarray(rows[name].cast(pa.int64()).to_numpy())


def _money(values: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Amounts as the models have them; a server's doubles are the nearest ones to these."""
    import pyarrow as pa

    return values.cast(pa.decimal128(18, 4), safe=False)


def _looked_up(rows: "pa.Table", key: str, value: str, wanted: npt.NDArray[np.int64]) -> "pa.Array":
    import pyarrow as pa

    keys = _numbers(rows, key)
    place = np.zeros(int(keys.max(initial=0)) + 1, dtype=np.int64)
    place[keys] = np.arange(len(keys))
    return rows[value].cast(pa.string()).combine_chunks().take(pa.array(place[wanted]))


def _all_items(tables: Tables) -> dict[str, int]:
    """The keys of the items that somebody met, then those of which there are only facts."""
    keys = _numbers(tables.items, "item_key").tolist()
    items = dict(zip(tables.items["item_id"].to_pylist(), keys, strict=True))
    following = max(keys, default=0) + 1
    for item in tables.properties["itemid"].unique().to_pylist():
        if item not in items:
            items[item] = following
            following += 1
    return items


def _item_table(items: Mapping[str, int]) -> "pa.Table":
    import pyarrow as pa

    return pa.table({"item_key": pa.array(items.values(), pa.int64()), "item_id": pa.array(items.keys(), pa.string())})


def _properties(rows: "pa.Table") -> "pa.Table":
    import pyarrow as pa

    return rows.set_column(0, "timestamp", rows["timestamp"].cast(pa.int64()))


def _category_codes(categories: "pa.ChunkedArray") -> tuple[npt.NDArray[np.int64], dict[str, int]]:
    import pyarrow.compute as pc

    coded = categories.combine_chunks().dictionary_encode()
    codes = np.asarray(pc.fill_null(coded.indices, NO_CATEGORY).to_numpy(zero_copy_only=False), dtype=np.int64)
    return codes, {name: code for code, name in enumerate(coded.dictionary.to_pylist())}


def _orders(events: "pa.Table", visitor_ids: "pa.Array") -> dict[str, list[str]]:
    """The visitors of each order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = events["transaction_id"].cast(pa.string())
    rows = pa.table({"order": names, "visitor": visitor_ids}).filter(pc.not_equal(pc.fill_null(names, ""), ""))
    orders: dict[str, list[str]] = {}
    for order, visitor in zip(rows["order"].to_pylist(), rows["visitor"].to_pylist(), strict=True):
        found = orders.setdefault(order, [])
        if visitor not in found:
            found.append(visitor)
    return orders
