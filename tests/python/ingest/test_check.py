"""`python -m ingest check`: it says what a load would do, warns of what looks wrong, and writes nothing."""

import argparse
import json
import random
from pathlib import Path

import pyarrow as pa
import pytest

from ingest import check
from ingest.guess import sample
from ingest.survey import Survey
from loading import EVENTS_HEADER, Outcome, Shop, make_shop
from paths import ROOT

HEADER = "at,who,what,item,price,cur\n"
MAPPING = """
columns: {timestamp: at, visitor: who, event: what, item: item, price: price}
time_format: iso
time_zone: UTC
events: {see: view, cart: addtocart, buy: transaction}
ignore_events: [search]
ignore_other_events: true
ignore_columns: [cur]
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    return make_shop(tmp_path, monkeypatch, capsys)


def run(shop: Shop, *options: str) -> Outcome:
    parser = argparse.ArgumentParser()
    check.add_parser(parser.add_subparsers())
    args = parser.parse_args(["check", "--raw", str(shop.raw), *options])
    return Outcome(args.run(args), shop.capture())


def mapped(shop: Shop, tmp_path: Path, mapping: str = MAPPING) -> Outcome:
    file = tmp_path / "mapping.yml"
    file.write_text(mapping)
    return run(shop, "--mapping", str(file))


def event(day: int, who: str, what: str, item: str = "p1", price: str = "", cur: str = "") -> str:
    return f"2024-01-{day:02d} 10:00:00,{who},{what},{item},{price},{cur}\n"


def healthy(count: int = 300) -> str:
    steps = ["see", "see", "cart", "buy"]
    return "".join(event(1 + n % 9, f"u{n % 50}", steps[n % 4], f"p{n % 7}", "9.99") for n in range(count))


def test_a_healthy_file_has_no_warnings(shop: Shop, tmp_path: Path) -> None:
    shop.write("events.csv", HEADER + healthy())
    outcome = mapped(shop, tmp_path)
    assert outcome.code == 0
    assert "events: 150 view, 75 addtocart, 75 transaction" in outcome.output
    assert "from 2024-01-01 10:00:00 to 2024-01-09 10:00:00 UTC" in outcome.output
    assert "warning" not in outcome.output
    assert not shop.warehouse.exists()


@pytest.mark.parametrize(
    ("lines", "warning"),
    [
        (event(1, "NA", "see"), "1 events have the text NA for visitors"),
        (event(1, "u1", "see", "(not set)"), "1 events have the text (not set) for items"),
        (event(1, "4000.0", "see"), "ids of visitors end in .0, such as 4000.0"),
        (event(1, "nobody", "see") * 60, "visitor nobody has 17% of all events"),
        (event(12, "u1", "see"), "no event on 2 days between the first and the last: 2024-01-10, 2024-01-11"),
        (event(1, "u1", "added_to_cart") * 2, "1 names of events read like steps and are left out: added_to_cart (2)"),
        (event(1, "u1", "wish"), "1 names of events are left out: wish (1)"),
        (
            event(1, "u1", "see", cur="EUR") + event(1, "u1", "see", cur="usd") + event(1, "u1", "see", cur="NA"),
            "prices of 2 currencies: EUR (1), USD (1); map them (columns.currency), by the column cur",
        ),
    ],
)
def test_what_looks_wrong_is_told(shop: Shop, tmp_path: Path, lines: str, warning: str) -> None:
    shop.write("events.csv", HEADER + healthy() + lines)
    outcome = mapped(shop, tmp_path)
    assert outcome.code == 0
    assert warning in outcome.output
    assert outcome.output.count("warning") == 1


def order(number: int, who: str, name: str, item: str = "i") -> str:
    return f"{1437926001434 + number},{who},transaction,{item},{name}\n"


@pytest.mark.parametrize(
    ("lines", "warnings"),
    [
        (order(0, "u0", "o0") + order(1, "u0", "o0", "k"), []),
        (order(0, "u1", "o0"), ["1 orders are of several visitors, such as o0: each counts once"]),
        (order(0, "u1", "O0"), ["orders o0 and O0 differ in case alone: they are two orders"]),
        (order(0, "u1", "1.23457E+12"), ["ids of orders look like 1.23457E+12: a spreadsheet has rounded them"]),
        (order(0, "u1", "1E+11"), ["ids of orders look like 1E+11: a spreadsheet has rounded them"]),
        (order(0, "u1", "12.0"), ["ids of orders end in .0, such as 12.0"]),
        (order(0, "u1", "null"), ["1 events have the text null for orders"]),
        (
            "".join(order(n, f"u{n}", "0") for n in range(9)),
            ["order 0 has 23% of all transactions, of several visitors; a placeholder?", "1 orders are of several"],
        ),
    ],
)
def test_orders_that_look_wrong_are_told(shop: Shop, lines: str, warnings: list[str]) -> None:
    usual = "".join(f"143792600{n:04},u{n},view,i,\n143792600{n:04},u{n},addtocart,i,\n" for n in range(30))
    shop.write("events.csv", EVENTS_HEADER + usual + "".join(order(n, f"u{n}", f"o{n}") for n in range(30)) + lines)
    outcome = run(shop)
    assert outcome.code == 0
    assert [warning for warning in warnings if warning not in outcome.output] == []
    assert outcome.output.count("warning") == len(warnings)


@pytest.mark.parametrize(("prices", "is_told"), [((5, 5), True), ((5, 6), False)])
def test_the_price_of_an_order_on_each_of_its_lines_is_told(
    shop: Shop, tmp_path: Path, prices: tuple[int, int], is_told: bool
) -> None:
    """A line that was sent twice is none of several items; where all things cost the same, nothing is told."""
    mapping = MAPPING.replace("price: price}", "price: price, transaction: cur}").replace("ignore_columns: [cur]", "")

    def bought(order: int, item: str, price: int) -> str:
        return event(1, f"u{order}", "buy", item, str(price), f"o{order}")

    usual = "".join(event(1, "u", what, price="5") for what in ("see", "cart"))
    lines = "".join(bought(n, "p1", prices[0] + n) + bought(n, "p2", prices[1] + n) for n in range(20))
    shop.write("events.csv", HEADER + usual + lines + bought(99, "p1", 1) * 2)
    told = mapped(shop, tmp_path, mapping).output
    assert ("in each of 20 orders of several items, such as o0: is it that of the whole order?" in told) is is_told
    shop.write("events.csv", HEADER + usual + "".join(bought(n, item, 5) for n in range(20) for item in ("a", "b")))
    assert "whole order" not in mapped(shop, tmp_path, mapping).output


def test_prices_in_cents_and_steps_that_never_come(shop: Shop, tmp_path: Path) -> None:
    shop.write("events.csv", HEADER + "".join(event(1, f"u{n}", "see", price=str(n * 100 + 99)) for n in range(5, 45)))
    outcome = mapped(shop, tmp_path)
    assert "all 40 prices are whole numbers and most end as cents do" in outcome.output
    assert "no event is addtocart or transaction" in outcome.output


def test_currencies_that_the_mapping_names_are_counted(shop: Shop, tmp_path: Path) -> None:
    shop.write("events.csv", HEADER + healthy() + event(1, "u1", "see", price="1", cur="EUR"))
    shop.write("more.csv", HEADER + healthy() + event(2, "u1", "see", price="1", cur="USD"))
    mapping = MAPPING.replace("price: price}", "price: price, currency: cur}").replace("ignore_columns: [cur]", "")
    outcome = mapped(shop, tmp_path, mapping + "currency: EUR\n")
    assert outcome.code == 0
    assert "prices of 2 currencies: EUR (1), USD (1)" in outcome.output
    assert "other_currency: 1" in outcome.output


def test_a_currency_that_comes_late_is_counted(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "MAX_RECORDS", 5)
    shop.write("events.csv", HEADER + event(1, "u1", "see", cur="EUR") * 9 + event(1, "u1", "see", cur="USD"))
    assert "prices of 2 currencies: EUR (9), USD (1)" in mapped(shop, tmp_path).output


def test_a_list_of_keys_and_values_may_say_the_currency(shop: Shop) -> None:
    for name in ("EUR", "USD"):
        purchase = {
            "event_timestamp": "1704450000000000", "event_name": "purchase", "user_pseudo_id": "u",
            "ecommerce": {"transaction_id": name}, "items": [{"item_id": "i", "price": 5}],
            "event_params": [{"key": "currency", "value": {"string_value": name}}],
        }  # fmt: skip
        shop.write(f"{name}.jsonl", json.dumps(purchase) + "\n")
    told = run(shop, "--mapping", str(ROOT / "examples" / "ga4.yml")).output
    assert "2 currencies: EUR (1), USD (1); map them (columns.currency), by the column event_params[key=curr" in told


def test_parents_that_are_no_category(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + "1437926001434,79,view,450209,\n")
    shop.write("tree.csv", "categoryid,parentid\n1,\n2,1\n3,9\n")
    outcome = run(shop)
    assert outcome.code == 0
    assert "1 parents in the category tree are no category of it, such as 9" in outcome.output
    (shop.raw / "events.csv").unlink()
    alone = run(shop, "--raw", str(shop.raw / "tree.csv"))
    assert (alone.code, alone.output.count("warning")) == (0, 1)


@pytest.mark.parametrize("option", [[], ["--max-reject-rate", "0.5"]])
def test_it_refuses_what_a_load_refuses(shop: Shop, option: list[str]) -> None:
    shop.write("events.csv", EVENTS_HEADER + "1437926001434,79,view,450209,\nnever,79,view,450209,\n")
    checked = run(shop, *option)
    loaded = shop.load(options=option)
    assert checked.code == loaded.code == (0 if option else 1)
    assert "bad_timestamp: 1" in checked.output
    if not option:
        assert "a load would be refused" in checked.output


def test_a_giant_is_found_among_more_visitors_than_are_counted() -> None:
    survey = Survey()
    draws = random.Random(7)
    for _ in range(20):
        names = [f"u{draws.random()}" for _ in range(5000)] + ["giant"] * 800
        draws.shuffle(names)
        columns = {"visitorid": names, "event": ["view"] * 5800, "timestamp": [1704103200000] * 5800}
        nothing = pa.nulls(5800, pa.string())
        table = pa.table(columns | {"itemid": names, "transactionid": nothing, "categoryid": nothing})
        survey.add_events(table.append_column("price", pa.nulls(5800, pa.decimal128(18, 4))), None, set())
    assert any("visitor giant has 14%" in warning for warning in survey.warnings())
