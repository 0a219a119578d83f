"""A small warehouse with the marts that ml reads, made from a seed, and the dbt manifest that describes it."""

import json
from dataclasses import asdict
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from contracts import PUBLISHED

DAY_MS = 86_400_000
START_MS = 1_430_611_200_000  # 2015-05-03
TIMEOUT_MS = 1_800_000

ROLES = {
    "session_id": "id",
    "visitor_id": "id",
    "item_id": "id",
    "has_transaction": "label",
    "is_mature": "status",
    "is_new_visitor": "status",
    "is_bot": "status",
    "decided_at": "time",
    "decided_ms": "time",
    "decided_date": "time",
}
FEATURES = {
    "context": ["decision_point", "decision_hour", "decision_weekday", "is_weekend"],
    "session": [
        "events_so_far", "views_so_far", "carts_so_far", "distinct_items_so_far", "distinct_categories_so_far",
        "seconds_since_start", "seconds_since_previous_event", "mean_gap_seconds", "repeat_view_share", "has_view",
        "has_addtocart", "view_to_cart_seconds", "addtocart_rate", "carted_value_so_far",
    ],
    "item": [
        "item_root_category", "item_category", "item_category_depth", "item_price", "item_price_ratio",
        "item_is_available", "item_views_7d", "item_views_28d", "item_cart_rate_7d", "item_cart_rate_28d",
        "item_purchase_rate_7d", "item_purchase_rate_28d", "item_prior_views_by_visitor",
    ],
    "history": [
        "prior_sessions", "prior_events", "prior_views", "prior_carts", "prior_transactions", "prior_conversion_rate",
        "days_since_previous_session", "days_since_last_cart", "days_since_last_purchase",
        "previous_session_left_cart", "same_root_category_as_previous_session",
    ],
}  # fmt: skip
CATEGORICAL = {"decision_point", "item_root_category", "item_category"}


def manifest() -> dict[str, object]:
    """Return the part of dbt's manifest that ml reads: the mart's roles, and the tables that it writes."""
    columns = {name: {"name": name, "description": name, "meta": {"role": role}} for name, role in ROLES.items()}
    for group, names in FEATURES.items():
        for name in names:
            kind = "categorical" if name in CATEGORICAL else "numeric"
            words = name.replace("_", " ")
            columns[name] = {
                "name": name,
                "description": f"{words.capitalize()}. A longer explanation follows.",
                "meta": {"role": "feature", "group": group, "kind": kind}
                | ({"reason": words} if name != "decision_point" else {}),
            }
    node = {
        "resource_type": "model",
        "name": "session_features",
        "fqn": ["funnelift", "marts", "session_features"],
        "columns": columns,
        "config": {"meta": {"grain": ["session_id", "decision_point"]}},
    }
    return {
        "metadata": {"project_name": "funnelift", "generated_at": "2015-09-18T00:00:00Z"},
        "nodes": {"model.funnelift.session_features": node} | prediction_nodes(),
    }


def prediction_nodes() -> dict[str, object]:
    """The contracts of the prediction tables, as dbt's manifest has them."""
    return {
        f"model.funnelift.{contract.name}": {
            "resource_type": "model",
            "name": contract.name,
            "fqn": ["funnelift", contract.layer, contract.name],
            "description": contract.description,
            "columns": {column.name: asdict(column) for column in contract.columns},
            "config": {
                "meta": {
                    "grain": list(contract.grain),
                    "found_by": list(contract.found_by),
                    "readers": list(contract.readers),
                    "written_by": contract.written_by,
                }
            },
        }
        for contract in PUBLISHED.values()
    }


def marts(visitors: int, seed: int, *, buy_rate: float = 0.006, days: int = 137) -> dict[str, pd.DataFrame]:
    """Return sessions, session_funnels, session_features and dataset_summary, consistent with one another.

    Visitors differ in a hidden wish to buy; more of them buy the higher `buy_rate`.
    """
    rng = np.random.default_rng(seed)
    wish = rng.normal(size=visitors)
    count = 1 + rng.geometric(0.75, visitors) - 1
    count[rng.random(visitors) > 0.3] = 1
    who = np.repeat(np.arange(visitors), count)
    n = len(who)
    started = START_MS + (rng.random(n) * days * DAY_MS).astype(np.int64)
    order = np.lexsort((started, who))
    started = started[order]
    first_of_visitor = np.r_[True, who[1:] != who[:-1]]
    number = np.arange(n) - np.maximum.accumulate(np.where(first_of_visitor, np.arange(n), 0)) + 1
    gap_ms = rng.integers(5_000, 120_000, n)
    price = np.round(np.exp(rng.normal(10, 1.2, n)), 2)
    item_rate = rng.beta(2, 80, n)
    logit = np.log(buy_rate) + 1.1 * wish[who] - 0.3 * (np.log(price) - 10) + 12 * (item_rate - 0.025)
    logit += np.where(number > 1, 0.8, 0)
    buys = rng.random(n) < 1 / (1 + np.exp(-logit))
    events = np.minimum(
        rng.geometric(np.clip(0.78 - 0.08 * wish[who], 0.2, 0.95), n) + buys * rng.integers(1, 6, n), 60
    )
    carts = (rng.random(n) < 0.012 * np.exp(0.6 * wish[who])) | (buys & (rng.random(n) < 0.85))
    transaction_at = np.where(buys, np.where(events == 1, 1, rng.integers(2, np.maximum(events, 2) + 1)), 0)
    cart_at = np.where(carts, 1 + (rng.random(n) * events).astype(int), 0)
    cart_at = np.where(cart_at == transaction_at, np.maximum(transaction_at - 1, 0), cart_at)

    visitor_id = np.char.add("v", who.astype(str)).astype(object)
    session_id = np.char.add(np.char.add(visitor_id.astype(str), "-"), started.astype(str)).astype(object)
    ended = started + (events - 1) * gap_ms
    high_water = int(ended.max())
    is_closed = (ended + TIMEOUT_MS < high_water).astype(np.int32)
    time_of = lambda position: pd.Series(  # noqa: E731
        np.where(position > 0, started + (position - 1) * gap_ms, -1)
    ).where(position > 0)
    is_new = (number == 1).astype(np.int32)
    sessions = pd.DataFrame(
        {
            "session_id": session_id,
            "visitor_id": visitor_id,
            "session_number": number,
            "started_at": pd.to_datetime(started, unit="ms"),
            "event_count": events,
            "transaction_count": buys.astype(int),
            "is_new_visitor": is_new,
            "is_bot": 0,
            "is_closed": is_closed,
        }
    )
    first_other = np.where((transaction_at == 1) | (cart_at == 1), 2, 1)
    first_view = np.where((first_other <= events) & (first_other != transaction_at), first_other, 0)
    funnels = pd.DataFrame(
        {
            "session_id": session_id,
            "visitor_id": visitor_id,
            "started_at": sessions["started_at"],
            "has_view": (first_view > 0).astype(np.int32),
            "first_view_at": pd.to_datetime(time_of(first_view), unit="ms"),
            "has_addtocart": (cart_at > 0).astype(np.int32),
            "first_addtocart_at": pd.to_datetime(time_of(cart_at), unit="ms"),
            "has_transaction": buys.astype(np.int32),
            # From a generator of its own, so that it moves nothing else.
            "revenue": np.where(buys, np.round(np.random.default_rng(seed).lognormal(5, 0.5, n), 2), 0.0),
            "first_transaction_at": pd.to_datetime(time_of(transaction_at), unit="ms"),
        }
    )
    parts = []
    for point, position in [("landing", np.ones(n, int)), ("engaged", np.full(n, 3)), ("cart", cart_at)]:
        reached = (position > 0) & (position <= events) & ~((transaction_at > 0) & (transaction_at <= position))
        parts.append(
            pd.DataFrame({"session": np.flatnonzero(reached), "decision_point": point, "position": position[reached]})
        )
    rows = pd.concat(parts, ignore_index=True)
    s, p = rows["session"].to_numpy(), rows["position"].to_numpy()
    m = len(rows)
    decided = started[s] + (p - 1) * gap_ms[s]
    carted = (cart_at[s] > 0) & (cart_at[s] <= p)
    views = p - carted
    prior = number[s] - 1
    prior_buys = rng.binomial(prior, 1 / (1 + np.exp(-(np.log(0.02) + 1.1 * wish[who[s]]))))
    category = rng.zipf(1.5, m) % 400
    gap_s = gap_ms[s] / 1000.0
    null = np.nan
    features = pd.DataFrame(
        {
            "session_id": session_id[s],
            "visitor_id": visitor_id[s],
            "item_id": np.char.add("i", category.astype(str)).astype(object),
            "decision_point": rows["decision_point"],
            "decision_hour": (decided // 3_600_000 % 24).astype(np.int32),
            "decision_weekday": ((decided // DAY_MS + 3) % 7 + 1).astype(np.int32),
            "is_weekend": (((decided // DAY_MS + 3) % 7) >= 5).astype(np.int32),
            "events_so_far": p,
            "views_so_far": views,
            "carts_so_far": carted.astype(np.int64),
            "distinct_items_so_far": np.maximum(1, (p * rng.random(m)).astype(np.int64)),
            "distinct_categories_so_far": 1,
            "seconds_since_start": (p - 1) * gap_s,
            "seconds_since_previous_event": np.where(p > 1, gap_s, null),
            "mean_gap_seconds": np.where(p > 1, gap_s, null),
            "repeat_view_share": np.where(views > 0, rng.integers(0, 2, m) * (p > 1) / np.maximum(views, 1), null),
            "has_view": (views > 0).astype(np.int32),
            "has_addtocart": carted.astype(np.int32),
            "view_to_cart_seconds": np.where(carted & (p > 1), gap_s, null),
            "addtocart_rate": np.where(views > 0, carted / np.maximum(views, 1), null),
            "carted_value_so_far": np.where(carted, price[s], 0.0),
            "item_root_category": np.char.add("r", (category % 25).astype(str)).astype(object),
            "item_category": np.where(category % 17 == 0, None, np.char.add("c", category.astype(str)).astype(object)),
            "item_category_depth": np.where(category % 17 == 0, null, category % 5),
            "item_price": np.where(rng.random(m) < 0.1, null, price[s]),
            "item_price_ratio": np.where(rng.random(m) < 0.15, null, price[s] / 22_000),
            "item_is_available": np.where(rng.random(m) < 0.1, null, rng.integers(0, 2, m)),
            "item_views_7d": rng.poisson(8, m),
            "item_views_28d": rng.poisson(32, m),
            "item_cart_rate_7d": item_rate[s] * rng.uniform(0.7, 1.3, m),
            "item_cart_rate_28d": item_rate[s] * rng.uniform(0.9, 1.1, m),
            "item_purchase_rate_7d": item_rate[s] / 3 * rng.uniform(0.7, 1.3, m),
            "item_purchase_rate_28d": item_rate[s] / 3 * rng.uniform(0.9, 1.1, m),
            "item_prior_views_by_visitor": rng.poisson(0.1 + 0.4 * prior),
            "prior_sessions": prior,
            "prior_events": prior * 2,
            "prior_views": prior * 2,
            "prior_carts": rng.binomial(prior, 0.1),
            "prior_transactions": prior_buys,
            "prior_conversion_rate": (prior_buys + 20 * 0.0063) / (prior + 20),
            "days_since_previous_session": np.where(prior > 0, rng.exponential(5, m), null),
            "days_since_last_cart": np.where(prior > 0, rng.exponential(9, m), null),
            "days_since_last_purchase": np.where(prior_buys > 0, rng.exponential(15, m), null),
            "previous_session_left_cart": np.where(prior > 0, rng.integers(0, 2, m), null),
            "same_root_category_as_previous_session": np.where(prior > 0, rng.integers(0, 2, m), null),
            "has_transaction": buys[s].astype(np.int32),
            "is_mature": is_closed[s],
            "is_new_visitor": is_new[s],
            "is_bot": np.zeros(m, np.int32),
            "decided_date": pd.to_datetime(decided // DAY_MS * DAY_MS, unit="ms"),
            "decided_ms": decided,
            "decided_at": pd.to_datetime(decided, unit="ms"),
        }
    )
    features = features.sample(frac=1, random_state=seed)  # readers may not rely on any order
    summary = pd.DataFrame(
        {
            "event_count": [int(events.sum())],
            "visitor_count": [visitors],
            "session_count": [n],
            "cart_session_count": [int((cart_at > 0).sum())],
            "converting_session_count": [int(buys.sum())],
            "conversion_rate": [float(buys.mean())],
            "first_event_at": [pd.Timestamp(started.min(), unit="ms")],
            "last_event_at": [pd.Timestamp(high_water, unit="ms")],
            "implausible_event_count": [0],
            "first_plausible_ms": [int(started.min())],
            "high_water_mark_ms": [high_water],
            "implausible_visitor_id": pd.Series([None], dtype=object),
            "implausible_event_at": pd.Series([pd.NaT], dtype="datetime64[ms]"),
            "first_plausible_at": [pd.Timestamp(started.min(), unit="ms")],
            "last_plausible_at": [pd.Timestamp(high_water, unit="ms")],
            "is_synthetic": [1],
        }
    )
    return {
        "sessions": sessions,
        "session_funnels": funnels,
        "session_features": features,
        "dataset_summary": summary,
        "int_decision_points": features[["session_id", "decision_point"]],
        "build_plan": pd.DataFrame({"build_id": ["b1"], "build_number": [1]}),
        "last_build": pd.DataFrame({"build_id": ["b1"], "build_number": [1]}),
        "visitor_changes": pd.DataFrame({"visitor_id": np.unique(visitor_id), "build_number": 1}),
    }


def write(folder: Path, tables: dict[str, pd.DataFrame]) -> Path:
    """Write the marts and the manifest into a folder; return the warehouse's path."""
    warehouse = folder / "warehouse.duckdb"
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(warehouse) as connection:
        connection.execute("create schema funnelift")
        for name, table in tables.items():
            connection.register("frame", table)
            dates = " replace (decided_date::date as decided_date)" if "decided_date" in table else ""
            connection.execute(f"create table funnelift.{name} as select *{dates} from frame")
            connection.unregister("frame")
    (folder / "manifest.json").write_text(json.dumps(manifest()))
    return warehouse
