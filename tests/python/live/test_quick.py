"""SQLite runs the same SQL as DuckDB, where it can do so exactly; all else goes to DuckDB."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from live.chain import Chain
from live.compile import Compiled
from live.facts import quick_chain
from live.quick import QuickChain
from live.shop import Shop
from live_shop import full_build, raw_events, shop_of, unlike
from reference import Event
from worlds import random_world

OF_CLOCK = {"is_mature"}


def chain_of(shop: Shop) -> QuickChain:
    chain = shop._chain
    assert isinstance(chain, QuickChain)
    return chain


def count_exact(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets a number for each run on DuckDB."""
    runs, run = list[int](), Chain.run

    def counted(self: Chain, *arguments: Any) -> Any:
        runs.append(1)
        return run(self, *arguments)

    monkeypatch.setattr(Chain, "run", counted)
    return runs


@pytest.mark.parametrize(
    ("quantity", "price", "engine"),
    [("2", "19.99", "SQLite"), ("0.35", "19.99", "DuckDB"), ("2", "9999999999", "DuckDB")],
)
def test_amounts_that_doubles_could_round_go_to_duckdb_and_all_else_does_not(
    live_models: Compiled, monkeypatch: pytest.MonkeyPatch, quantity: str, price: str, engine: str
) -> None:
    world = random_world(8)
    amounts = {"price": Decimal(price), "quantity": Decimal(quantity)}
    bought = Event(1_435_000_000_000, "v-money", "addtocart", "item-1", None, **amounts)
    taken = bought._replace(timestamp=bought.timestamp + 1000, event="removefromcart", quantity=None)
    world = replace(world, events=[*world.events, bought, taken])
    shop = shop_of(live_models, replace(world, events=world.events[:-2]))
    runs = count_exact(shop, monkeypatch)
    shop.add(raw_events([bought, taken]))
    found = shop.features(["v-money"], bought.timestamp).to_pylist()
    assert len(runs) == (engine == "DuckDB")
    assert [row["carted_value_so_far"] for row in found if row["decision_point"] == "cart"] != []
    assert unlike(found, full_build(live_models, world), OF_CLOCK) == []


def test_engines_that_agree_are_settled_on_sqlite(live_models: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = shop_of(live_models, plain_world())
    assert shop.settle_engine()
    runs = count_exact(shop, monkeypatch)
    assert shop.features([plain_world().events[0].visitorid], 0).num_rows > 0
    assert runs == []


def test_engines_that_differ_are_settled_on_duckdb(live_models: Compiled) -> None:
    world = plain_world()
    shop = shop_of(live_models, world)
    chain_of(shop)._connection.create_function("to_double", 1, lambda text: float(text) + 1e-9, deterministic=True)
    assert not shop.settle_engine()
    visitors = {event.visitorid for event in world.events}
    assert unlike(shop.features(visitors, 0).to_pylist(), full_build(live_models, world), OF_CLOCK) == []


def test_a_model_that_sqlite_does_not_know_leaves_duckdb_alone(
    live_models: Compiled, caplog: pytest.LogCaptureFixture
) -> None:
    strange = tuple(
        replace(model, sql=f"{model.sql} where list_sum([1]) = 1") if model.name == "session_features" else model
        for model in live_models.models
    )
    chain = Chain(replace(live_models, models=strange), 0)
    assert quick_chain(chain, 0) is chain
    assert "DuckDB alone" in caplog.text


def plain_world() -> Any:
    """A world without amounts that need decimals."""
    world = random_world(8)
    events = [event._replace(price=Decimal("19.99") if event.price else None, quantity=None) for event in world.events]
    return replace(world, events=events)
