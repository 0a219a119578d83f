"""What a mapping can say of formats beyond a plain table: paths, lists, rules, joined cells, money, times, files."""

import gzip
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest import inputs, reader
from ingest.mapping_file import read_mappings
from loading import EVENTS_HEADER, GOOD_LINE, Outcome, Shop, make_shop
from paths import ROOT
from warehouse.errors import UsageError

AT = 1569888000000
MINIMAL = "columns: {timestamp: at, visitor: who, event: what, item: thing}\nevents: {view: view, buy: transaction}\n"
COUNTS = "select line_count, accepted_count, rejected_count, ignored_count from funnelift_raw.raw_loads"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    return make_shop(tmp_path, monkeypatch, capsys)


def load(shop: Shop, mapping: str, name: str, content: str | bytes, code: int = 0) -> Outcome:
    path = shop.write("mapping.yml", mapping)
    outcome = shop.load(shop.write(name, content), options=["--mapping", str(path), "--max-reject-rate", "1"])
    assert outcome.code == code, outcome.output
    assert "Traceback" not in outcome.output
    return outcome


def events(shop: Shop, columns: str) -> list[tuple[object, ...]]:
    return shop.rows(f"select {columns} from funnelift_raw.raw_events order by timestamp, itemid")


def reasons(shop: Shop) -> list[tuple[int, str]]:
    return [(line, reason) for line, reason, _ in shop.rejects()]


# --- nested values ----------------------------------------------------------------------------------------------------

NESTED = """
columns: {timestamp: at, visitor: [user.id, device], event: what, item: "data.item.0.sku", price: data.price}
events: {view: view}
ignore_other_columns: true
"""
RECORDS = [
    {"at": AT, "user": {"id": "u"}, "device": "d", "what": "view", "data": {"item": [{"sku": "a"}], "price": 2}},
    {"at": AT + 1, "user": {}, "device": "d", "what": "view", "data": {"item": [{"sku": "b"}]}},
    {"at": AT + 2, "user": None, "device": "d", "what": "view", "data": json.dumps({"item": [{"sku": "c"}]})},
    {"at": AT + 3, "device": "d", "what": "view", "data": "no JSON {"},
]


def test_paths_lead_into_objects_lists_and_json_text(shop: Shop) -> None:
    load(shop, NESTED, "e.jsonl", "\n".join(map(json.dumps, RECORDS)) + "\n")
    assert events(shop, "visitorid, itemid, price") == [("u", "a", Decimal(2)), ("d", "b", None), ("d", "c", None)]
    assert reasons(shop) == [(4, "empty_item")]


def test_paths_lead_into_json_text_of_a_csv_column(shop: Shop) -> None:
    lines = [f'{AT},v,view,"{{""item"":{{""sku"":""a""}}}}"', f"{AT + 1},v,view,broken{{", f"{AT + 2},v,view,"]
    mapping = MINIMAL.replace("thing", "data.item.sku")
    load(shop, mapping, "e.csv", "\n".join(["at,who,what,data", *lines, ""]))
    assert events(shop, "itemid") == [("a",)]
    assert reasons(shop) == [(3, "empty_item"), (4, "empty_item")]


def test_a_column_of_exactly_that_name_comes_before_a_path(shop: Shop) -> None:
    load(shop, MINIMAL.replace("thing", "a.b"), "e.csv", f"at,who,what,a.b\n{AT},v,view,i\n")
    load(shop, MINIMAL.replace("thing", "a.b") + "ignore_other_columns: true\n", "e.jsonl",
         f'{{"at":{AT + 1},"who":"v","what":"view","a.b":"k","a":{{"b":"l"}}}}\n')  # fmt: skip
    assert events(shop, "itemid") == [("i",), ("k",)]


LISTED = """
columns: {timestamp: at, visitor: who, event: what, item: ["lines[].sku", sku], price: "lines[].price", event_id: id}
events: {view: view, buy: transaction}
"""


def test_a_list_opens_into_events_with_the_fields_of_their_line(shop: Shop) -> None:
    records = [
        {"at": AT, "who": "v", "what": "buy", "id": "1", "lines": [{"sku": "a", "price": 1}, {"sku": "b"}, {}, None]},
        {"at": AT + 1, "who": "v", "what": "view", "id": "2", "sku": "c", "lines": []},
        {"at": AT + 2, "who": "v", "what": "view", "id": "3", "sku": "d"},
        {"at": AT + 3, "who": "v", "what": "buy", "id": "4", "lines": "[{\"sku\": \"e\"}]"},
        {"at": AT + 4, "who": "v", "what": "buy", "id": "5", "lines": {"sku": "f"}},
    ]  # fmt: skip
    load(shop, LISTED, "e.jsonl", "\n".join(map(json.dumps, records)) + "\nbroken\n")
    assert events(shop, "itemid, price, event_id") == [
        ("a", Decimal(1), "1/1"), ("b", None, "1/2"), ("c", None, "2"), ("d", None, "3"), ("e", None, "4/1")
    ]  # fmt: skip
    assert reasons(shop) == [(1, "empty_item"), (1, "empty_item"), (5, "empty_item"), (6, "bad_json")]
    assert shop.rows(COUNTS) == [(9, 5, 4, 0)]


def test_the_first_list_with_entries_is_opened(shop: Shop) -> None:
    mapping = LISTED.replace('["lines[].sku", sku]', '["lines[].sku", "more[].sku"]').replace(", event_id: id", "")
    records = [
        {"at": AT, "who": "v", "what": "buy", "lines": [{"sku": "a"}], "more": [{"sku": "x"}]},
        {"at": AT + 1, "who": "v", "what": "buy", "lines": [], "more": [{"sku": "b"}, {"sku": "c"}]},
    ]
    load(shop, mapping, "e.jsonl", "\n".join(map(json.dumps, records)) + "\n")
    assert events(shop, "itemid") == [("a",), ("b",), ("c",)]


def test_lists_in_the_entries_of_a_list_open_too(shop: Shop) -> None:
    mapping = """
columns: {timestamp: at, visitor: who, event: "acts[].what", item: ["acts[].lines[].sku", "acts[].sku"], event_id: id}
events: {view: view, buy: transaction}
"""
    acts = [{"what": "buy", "lines": [{"sku": "a"}, {"sku": "b"}]}, {"what": "view", "sku": "c", "lines": []}]
    records = [{"at": AT, "who": "v", "id": "1", "acts": acts}, {"at": AT + 1, "who": "w", "id": "2", "acts": []}]
    load(shop, mapping, "e.jsonl", "\n".join(map(json.dumps, records)) + "\n")
    assert events(shop, "event, itemid, event_id") == [
        ("transaction", "a", "1/1/1"),
        ("transaction", "b", "1/1/2"),
        ("view", "c", "1/2"),
    ]
    assert reasons(shop) == [(2, "unknown_event")]
    assert shop.rows(COUNTS) == [(4, 3, 1, 0)]


ORDERED = """
columns: {timestamp: at, visitor: who, event: what, item: "lines[].sku", transaction: bill, price: "lines[].price"}
events: {view: view, buy: transaction, back: refund}
refunds: net
"""


def order(what: str, *lines: dict[str, object], at: int = AT) -> dict[str, object]:
    return {"at": at, "who": "v", "what": what, "bill": "o1", "lines": list(lines)}


def told_apart(shop: Shop, mapping: str, *records: dict[str, object]) -> list[tuple[object, ...]]:
    load(shop, mapping, "e.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    how_often = "count(*), count(event_id), count(distinct event_id), min(line_number)"
    found = shop.rows(f"select event, itemid, {how_often} from funnelift_raw.raw_events group by 1, 2 order by 1, 2")
    shop.warehouse.unlink()
    return found


def test_equal_entries_of_one_order_are_told_apart_by_ids_of_their_own(shop: Shop) -> None:
    """All but the first have an id; the same line once more has the same ids, whatever its other columns say."""
    two, other = {"sku": "a", "price": 5}, {"sku": "b", "price": 5}
    assert told_apart(shop, ORDERED, order("buy", two, other, two, two)) == [
        ("transaction", "a", 3, 2, 2, 1),
        ("transaction", "b", 1, 0, 0, None),
    ]
    again = [order("buy", two, two), order("buy", two, two), order("buy", two)]
    assert told_apart(shop, ORDERED, *again) == [("transaction", "a", 5, 2, 1, 1)]
    sizes = order("buy", two, two | {"price": 6}), order("buy", {"sku": "b"})
    assert told_apart(shop, ORDERED, *sizes) == [
        ("transaction", "a", 2, 0, 0, None),
        ("transaction", "b", 1, 0, 0, None),
    ]
    # Views are none of an order; one refund without a price takes back all of the item.
    assert told_apart(shop, ORDERED, order("view", two, two)) == [("view", "a", 2, 0, 0, None)]
    assert told_apart(shop, ORDERED, order("back", two, two)) == [("refund", "a", 2, 1, 1, 1)]
    assert told_apart(shop, ORDERED, order("back", {"sku": "a"}, {"sku": "a"})) == [("refund", "a", 2, 0, 0, None)]


def test_equal_entries_with_times_of_their_own_are_events_that_were_sent_twice(shop: Shop) -> None:
    acts = {"who": "v", "acts": [order("buy", {"sku": "a"}, {"sku": "a"}), order("buy", {"sku": "a"}, {"sku": "a"})]}
    mapping = ORDERED.replace("lines[]", "acts[].lines[]")
    for name in ("at", "what", "bill"):
        mapping = mapping.replace(f": {name},", f': "acts[].{name}",')
    assert told_apart(shop, mapping, acts) == [("transaction", "a", 4, 2, 1, 1)]
    assert told_apart(shop, mapping.replace("acts[].lines[]", "acts[]"), {
        "who": "v", "acts": [{"at": AT, "what": "buy", "bill": "o1", "sku": "a"}] * 2
    }) == [("transaction", "a", 2, 0, 0, None)]  # fmt: skip


def test_an_entry_is_found_by_its_key(shop: Shop) -> None:
    mapping = MINIMAL.replace("thing", '"params[key=sku].value.text"')
    line = {"at": AT, "who": "v", "what": "view", "params": [{"key": "x"}, {"key": "sku", "value": {"text": "i"}}]}
    written = json.dumps(line)
    # The same with other characters escaped than need to be; in a text; and without the entry.
    others = [written.replace('"sku"', r'"s\u006bu"').replace('"i"', '"j"'), json.dumps(line | {"params": "[]"})]
    others += [json.dumps(line | {"params": json.dumps(line["params"]).replace('"sku"', r'"\u0073ku"')})]
    load(shop, mapping, "e.jsonl", "\n".join([written, *others]) + "\n")
    assert events(shop, "itemid") == [("i",), ("i",), ("j",)]
    assert reasons(shop) == [(3, "empty_item")]


def test_an_entry_is_found_by_its_key_in_each_entry_of_a_list(shop: Shop) -> None:
    mapping = MINIMAL.replace("thing", '"lines[].params[key=sku].text"')
    lines = [{"params": [{"key": "x"}, {"key": "sku", "text": item}]} for item in "ab"]
    load(shop, mapping, "e.jsonl", json.dumps({"at": AT, "who": "v", "what": "view", "lines": lines}) + "\n")
    assert events(shop, "itemid") == [("a",), ("b",)]


def test_nested_parquet_reads_as_json_does(shop: Shop) -> None:
    pq.write_table(pa.Table.from_pylist([RECORDS[0], RECORDS[1]]), shop.raw / "e.parquet")
    lists = [{"at": AT + 9, "who": "v", "what": "buy", "lines": [{"sku": "a", "price": 1.5}, {"sku": "b"}]}]
    pq.write_table(pa.Table.from_pylist(lists), shop.raw / "l.parquet")
    for name, mapping in (
        ("e.parquet", NESTED),
        ("l.parquet", LISTED.replace(", event_id: id", "").replace(", sku", "")),
    ):
        load(shop, mapping, name, (shop.raw / name).read_bytes())
    assert events(shop, "itemid, price") == [("a", Decimal(2)), ("b", None), ("a", Decimal("1.5")), ("b", None)]


def test_a_text_may_hold_a_list(shop: Shop) -> None:
    mapping = MINIMAL.replace("thing", '"list[].1", price: "list[].2"') + 'text_lists: {list: {entries: "|"}}\n'
    load(shop, mapping, "e.csv", f"at,who,what,list\n{AT},v,buy,x;a;1|;b;2\n{AT + 1},v,buy,\n")
    assert events(shop, "itemid, price") == [("a", Decimal(1)), ("b", Decimal(2))]
    assert reasons(shop) == [(3, "empty_item")]


# --- files and rules --------------------------------------------------------------------------------------------------


def test_files_have_their_own_rules_and_need_no_header(shop: Shop) -> None:
    mapping = shop.write(
        "mapping.yml",
        """
time_format: epoch_s
columns: {timestamp: at, visitor: who, item: thing}
files:
  - {match: "clicks*", header: [who, at, thing], constant_event: view}
  - {match: "buys*", header: [who, at, thing, cost], constant_event: transaction, columns: {price: cost}}
""",
    )
    shop.write("clicks.csv", "v,1569888000,i\nv,1569888001\n")
    shop.write("buys.csv", "v,1569888002,k,9\n")
    shop.write("tree.csv", "categoryid,parentid\n1,\n")
    assert shop.load(options=["--mapping", str(mapping), "--max-reject-rate", "1"]).code == 0
    assert events(shop, "event, itemid, price") == [("view", "i", None), ("transaction", "k", Decimal(9))]
    assert reasons(shop) == [(2, "wrong_field_count")]
    outcome = shop.load(shop.write("sales.csv", "a,b\n"), options=["--mapping", str(mapping)])
    assert outcome.code == 1


@pytest.mark.parametrize("header", ["at,who,what,thing", "timestamp,visitorid,event,itemid,transactionid"])
def test_a_file_that_no_match_fits_is_refused_and_the_patterns_are_named(shop: Shop, header: str) -> None:
    mapping = MINIMAL.partition("events")[0].replace(" event: what,", "")
    mapping += (
        'files:\n  - {match: "*clicks*", constant_event: view}\n  - {match: "*buys*", constant_event: transaction}\n'
    )
    said = load(shop, mapping, "orders.csv", f"{header}\n", code=1).output
    assert "orders.csv" in said
    assert "no match under files in the mapping file (*clicks*, *buys*) fits the name" in said


def test_events_by_rules_in_their_order(shop: Shop) -> None:
    mapping = """
columns: {timestamp: at, visitor: who, event: what, item: thing}
event_rules:
  - {step: ignore, when: {who: {blank: true}}}
  - {step: addtocart, when: {what: page, thing: {regex: "^cart-"}}}
  - {step: view, when: {what: [page, screen]}}
events: {buy: transaction}
"""
    lines = [",page,i", "v,page,cart-i", "v,screen,k", "v,buy,l", "v,else,m"]
    load(shop, mapping, "e.csv", "at,who,what,thing\n" + "".join(f"{AT + n},{line}\n" for n, line in enumerate(lines)))
    assert [event for (event,) in events(shop, "event")] == ["addtocart", "view", "transaction"]
    assert reasons(shop) == [(6, "unknown_event")]
    assert shop.rows(COUNTS) == [(5, 3, 1, 1)]


def test_joined_cells_and_null_values(shop: Shop) -> None:
    mapping = """
columns:
  timestamp: {join: [day, hour]}
  visitor: {join: [high, low], between: "-"}
  item: [thing, other]
time_format: iso
time_zone: UTC
constant_event: view
null_values: ["(not set)", '\\N']
"""
    lines = ["2019-10-01,00:00:00,1,2,(not set),k", "2019-10-01,00:00:01,1,\\N,i,", "2019-10-01,,1,2,i,"]
    load(shop, mapping, "e.csv", "day,hour,high,low,thing,other\n" + "\n".join(lines) + "\n")
    assert events(shop, "timestamp, visitorid, itemid") == [(AT, "1-2", "k")]
    assert reasons(shop) == [(3, "empty_visitor"), (4, "bad_timestamp")]


def test_quotes_can_be_characters_as_any_other(shop: Shop) -> None:
    load(shop, MINIMAL + "quote: none\n", "e.csv", f'at,who,what,thing\n{AT},v,view,"a\n{AT + 1},v,view,b"\n')
    assert events(shop, "itemid") == [('"a',), ('b"',)]
    load(shop, MINIMAL + 'quote: "\'"\n', "f.csv", f"at,who,what,thing\n{AT + 2},v,view,'c,\"d'\n")
    assert events(shop, "itemid")[-1] == ('c,"d',)


@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252", "utf-16"])
def test_other_encodings(shop: Shop, encoding: str) -> None:
    shop.write("tree.csv", "categoryid,parentid\né,\n")
    mapping = shop.write("m.yml", f"{MINIMAL}encoding: {encoding}\n")
    shop.write("e.csv", f"at,who,what,thing\n{AT},v,view,caf\u00e9\n".encode(encoding))
    outcome = shop.load(options=["--mapping", str(mapping)])
    assert outcome.code == 0, outcome.output
    assert events(shop, "itemid") == [("caf\u00e9",)]


def test_a_byte_that_the_encoding_does_not_have_costs_its_line(shop: Shop) -> None:
    content = f"at,who,what,thing\n{AT},v,view,".encode() + b"\x81\n" + f"{AT},v,view,\u20ac\n".encode("cp1252")
    load(shop, MINIMAL + "encoding: windows-1252\n", "e.csv", content)
    assert events(shop, "itemid") == [("\u20ac",)]
    assert reasons(shop) == [(2, "invalid_utf8")]


# --- money ------------------------------------------------------------------------------------------------------------

PRICED = MINIMAL.replace("item: thing", "item: thing, price: cost, quantity: units, currency: money")


def test_decimal_commas_quantities_and_currencies(shop: Shop) -> None:
    mapping = PRICED + 'decimal: ","\nthousands: "."\ndelimiter: ";"\ncurrency: EUR\nexchange_rates: {USD: 0.5}\n'
    cells = [";;", "1.012,50;2;EUR", "3;0,5;usd", "3;1;JPY", "3.5x;1;EUR", "3;0;EUR", "3;-1;EUR", "3;;", ";1;JPY"]
    lines = "".join(f"{AT + n};v;view;i;{each}\n" for n, each in enumerate(cells))
    load(shop, mapping, "e.csv", "at;who;what;thing;cost;units;money\n" + lines)
    assert events(shop, "price, quantity") == [
        (None, None), (Decimal("1012.5"), 2), (Decimal("1.5"), Decimal("0.5")), (Decimal(3), None), (None, 1)
    ]  # fmt: skip
    assert reasons(shop) == [(5, "other_currency"), (6, "bad_price"), (7, "bad_quantity"), (8, "bad_quantity")]


@pytest.mark.parametrize(
    ("decimal", "thousands", "prices"),
    [
        (",", ".", {"1.012,50": "1012.5", "1.012": "1012", "1.234.567": "1234567", "12.99": None, "1012.500": None}),
        (".", ",", {"1,012.50": "1012.5", "1,00,000": "100000", "12,99": None, "1,5": None, "1,0000": None}),
        (",", " ", {"1 012,50": "1012.5", "1 01": None}),
    ],
)
def test_a_mark_that_parts_no_thousands_is_of_another_country(
    shop: Shop, decimal: str, thousands: str, prices: dict[str, str | None]
) -> None:
    """Among 1.012,50 a price of 12.99 was read as 1299."""
    mapping = f'{PRICED}decimal: "{decimal}"\nthousands: "{thousands}"\ndelimiter: ";"\ncurrency: EUR\n'
    lines = "".join(f"{AT + n};v;view;i;{price};;\n" for n, price in enumerate(prices))
    load(shop, mapping, "e.csv", "at;who;what;thing;cost;units;money\n" + lines)
    assert events(shop, "price") == [(Decimal(price),) for price in prices.values() if price]
    assert {reason for _, reason in reasons(shop)} == {"bad_price"}


LARGEST = "99999999999999"


@pytest.mark.parametrize(
    ("more", "cells", "expected"),
    [
        ("", "99999999;1000;VND", (99999999, 1000)),
        ("", f"{LARGEST};1;VND", (int(LARGEST), 1)),
        ("", f"{LARGEST};1.5;VND", "bad_quantity"),
        ("", f"{LARGEST};{LARGEST};VND", "bad_quantity"),
        ("exchange_rates: {USD: 24000.5}", "10000000;1;USD", (240005000000, 1)),
        ("exchange_rates: {USD: 999999999}", f"{LARGEST};1;USD", "bad_price"),
        ("price_is: total", f"{LARGEST};0.0001;VND", "bad_price"),
    ],
)
def test_money_of_many_digits_is_multiplied_or_costs_its_line_alone(
    shop: Shop, more: str, cells: str, expected: tuple[int, int] | str
) -> None:
    """A dong is worth so little that a product of two numbers overflowed, and no file of the shop loaded."""
    mapping = f'{PRICED}currency: VND\ndelimiter: ";"\n{more}\n'
    lines = f"{AT};v;view;i;{cells}\n{AT + 1};v;view;j;1;1;VND\n"
    load(shop, mapping, "e.csv", f"at;who;what;thing;cost;units;money\n{lines}")
    good = [] if isinstance(expected, str) else [expected]
    assert events(shop, "price, quantity") == [*good, (1, 1)]
    assert [reason for _, reason in reasons(shop)] == ([expected] if isinstance(expected, str) else [])


def test_the_price_of_a_line_is_divided_by_its_quantity(shop: Shop) -> None:
    mapping = MINIMAL.replace("item: thing", "item: thing, price: cost, quantity: units") + "price_is: total\n"
    load(shop, mapping, "e.csv", f"at,who,what,thing,cost,units\n{AT},v,buy,i,10,4\n{AT + 1},v,buy,i,10,\n")
    assert events(shop, "price, quantity") == [(Decimal("2.5"), 4), (10, None)]


REFUNDED = MINIMAL.replace("item: thing", "item: thing, transaction: bill, price: cost, quantity: units").replace(
    "buy: transaction}", "buy: transaction, back: refund}"
)
REFUNDS = [
    ("v,buy,i,o1,2.5,2", None), ("v,back,i,o1,2.5,1", ("i", "o1", Decimal("2.5"), 1)),
    ("v,buy,i,o1,2.5,-1", ("i", "o1", Decimal("2.5"), 1)), ("v,buy,i,o1,-2.5,", ("i", "o1", Decimal("2.5"), None)),
    ("v,back,i,o1,-2.5,-1", ("i", "o1", Decimal("2.5"), 1)), ("v,buy,i,o1,-.5,-3", ("i", "o1", Decimal("0.5"), 3)),
    (",back,,o1,,", ("", "o1", None, None)), ("v,back,i,,,", ("i", None, None, None)),
    ("v,back,,,2,", "empty_item"), (",back,i,,2,", "empty_visitor"), ("v,back,i,o1,-x,", "bad_price"),
    ("v,back,i,o1,--1,", "bad_price"), ("v,back,i,o1,1,0", "bad_quantity"), ("v,buy,i,o1,-0,", "bad_price"),
    ("v,view,i,,-1,", "bad_price"), ("v,view,i,,1,-1", "bad_quantity"), ("v,buy,i,,1,", "missing_transaction_id"),
]  # fmt: skip


def test_what_was_paid_back_is_net_or_refused_as_the_user_says(shop: Shop) -> None:
    """A refund says so, or is a purchase below zero; it may name its order alone. Refused ones are counted."""
    lines = "".join(f"{AT + n},{line}\n" for n, (line, _) in enumerate(REFUNDS))
    content = "at,who,what,thing,bill,cost,units\n" + lines
    said = load(shop, REFUNDED, "e.csv", content).output
    assert "refund: 12 (say refunds: net in the mapping" in said
    assert f"e.csv:3: {AT + 1},v,back,i,o1,2.5,1" in said
    assert [line for line, reason in reasons(shop) if reason == "refund"] == list(range(3, 15))
    shop.warehouse.unlink()
    load(shop, REFUNDED + "refunds: net\n", "e.csv", content)
    kept = "itemid, transactionid, price, quantity"
    found = shop.rows(f"select {kept} from funnelift_raw.raw_events where event = 'refund' order by timestamp")
    assert found == [told for _, told in REFUNDS if isinstance(told, tuple)]
    expected = [(n, told) for n, (_, told) in enumerate(REFUNDS, 2) if isinstance(told, str)]
    assert reasons(shop) == expected


LINES = [
    "v,view,i,,1.5,2", " v,view,i,,1.5,2", "v ,view,i,,1.5,2", "v,view,i,,1.5,2 ", "v,view,i,, 1.5,2",
    "v, view ,i,,1.5,2", '"v",view,i,,1.5,2', '" v",view,i,,1.5,2', "v,view,i,,-1.5,2", "v,view,i,, -1.5,2",
    "v,buy,i,o1,-1.5,2", "-v,view,-i,,1,1", "\u00a0v,view,i,,1,1", "v\u3000,view,i,,1,1", "é,view,i,,1,1",
    " ,view,i,,1,1", "v,view, ,,1,1", "v,buy,i, ,1,1", "v,buy,i,o1,1,-2", "v,back,i,o1,1,1", "v,view,i,,,",
    "v,view,i,, , ", "v,view,i,,x,1", "v,view,a b,,1,1",
]  # fmt: skip


@pytest.mark.parametrize("refunds", ["net", "refuse"])
def test_a_line_is_read_alike_whatever_stands_beside_it(shop: Shop, refunds: str) -> None:
    """Where no cell of a block has anything to trim or a sign, the checks are shorter."""
    read = "visitorid, event, itemid, transactionid, price, quantity"

    def outcome(name: str, lines: list[str]) -> tuple[list[object], list[str]]:
        text = "".join(f"{AT + n},{line}\n" for n, line in enumerate(lines))
        load(shop, f"{REFUNDED}refunds: {refunds}\n", name, "at,who,what,thing,bill,cost,units\n" + text)
        found = shop.rows(f"select {read} from funnelift_raw.raw_events order by timestamp"), shop.rejects()
        shop.warehouse.unlink()
        (shop.raw / name).unlink()
        return list(found[0]), [reason for _, reason, _ in found[1]]

    alone = [outcome(f"{n}.csv", [line]) for n, line in enumerate(LINES)]
    together = outcome("all.csv", LINES)
    assert together == ([row for rows, _ in alone for row in rows], [reason for _, found in alone for reason in found])


def test_refunds_in_the_numbers_of_another_country(shop: Shop) -> None:
    mapping = REFUNDED + 'refunds: net\ndecimal: ","\nthousands: "."\nprice_is: total\ndelimiter: ";"\n'
    load(shop, mapping, "e.csv", f"at;who;what;thing;bill;cost;units\n{AT};v;buy;i;o1;-1.012,50;-3\n")
    assert events(shop, "event, price, quantity") == [("refund", Decimal("337.5"), 3)]


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clock_change", "text", "expected"),
    [
        ("reject", "2019-10-27 02:30:00", "ambiguous_timestamp"),
        ("before", "2019-10-27 02:30:00", 1572136200000),
        ("after", "2019-10-27 02:30:00", 1572139800000),
        ("reject", "2019-10-27 01:59:59", 1572134399000),
        ("reject", "2019-10-27 03:00:00", 1572141600000),
        ("reject", "2019-03-31 02:30:00", "nonexistent_timestamp"),
        ("before", "2019-03-31 02:30:00", 1553995800000),
        ("after", "2019-03-31 02:30:00", 1553992200000),
        ("reject", "2019-03-31 01:59:59", 1553993999000),
        ("reject", "2019-03-31 03:00:00", 1553994000000),
        ("reject", "2019-10-27 02:30:00Z", 1572143400000),
    ],
)
@pytest.mark.parametrize("time_format", ["iso", "%Y-%m-%d %H:%M:%S"])
def test_hours_in_which_clocks_change(
    shop: Shop, clock_change: str, text: str, expected: int | str, time_format: str
) -> None:
    if text.endswith("Z") and time_format != "iso":
        return
    more = f'time_format: "{time_format}"\ntime_zone: Europe/Berlin\nclock_change: {clock_change}\n'
    load(shop, MINIMAL + more, "e.csv", f"at,who,what,thing\n{text},v,view,i\n")
    found = [value for (value,) in events(shop, "timestamp")] or [reason for _, reason in reasons(shop)]
    assert found == [expected]


def test_milliseconds_since_a_time_are_added(shop: Shop) -> None:
    mapping = MINIMAL.replace("timestamp: at,", "timestamp: at, elapsed_ms: ms,")
    cells = [",v,view,i", "5,v,view,k", "x,v,view,l", "99999999999999999999,v,view,m"]
    load(shop, mapping, "e.csv", "at,ms,who,what,thing\n" + "".join(f"{AT},{each}\n" for each in cells))
    assert events(shop, "timestamp - 1569888000000") == [(0,), (5,)]
    assert reasons(shop) == [(4, "bad_timestamp"), (5, "bad_timestamp")]


# --- packed files and folders -----------------------------------------------------------------------------------------


def packed(content: bytes) -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("__MACOSX/._events.csv", b"x")
        file.writestr("events.csv", content)
    zstd = pa.BufferOutputStream()
    with pa.CompressedOutputStream(zstd, "zstd") as stream:
        stream.write(content)
    return {".gz": gzip.compress(content), ".zip": archive.getvalue(), ".zst": zstd.getvalue().to_pybytes()}


@pytest.mark.parametrize("ending", [".gz", ".zip", ".zst"])
def test_packed_files_load_and_damaged_ones_are_refused(shop: Shop, ending: str) -> None:
    lines = "".join(f"{AT},{visitor},view,i,\n" for visitor in range(2000))
    content = packed((EVENTS_HEADER + lines).encode())[ending]
    shop.write(f"events.csv{ending}", content[: len(content) // 2])
    outcome = shop.load()
    assert outcome.code == 1
    assert f"events.csv{ending}" in outcome.output
    shop.write(f"events.csv{ending}", content)
    assert shop.load().code == 0
    assert shop.rows(COUNTS) == [(2000, 2000, 0, 0)]
    shop.write(f"events.csv{ending}", (EVENTS_HEADER + GOOD_LINE).encode())
    assert f"named {ending} but not" in shop.load().output


@pytest.mark.parametrize(("field", "value", "fault"), [(6, 1, "encrypted"), (8, 97, "compression")])
def test_a_zip_with_a_password_or_an_unknown_packing_is_refused(shop: Shop, field: int, value: int, fault: str) -> None:
    """The flags and the packing of a file, at their places in its own header and, two bytes on, in the directory's."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("events.csv", EVENTS_HEADER + GOOD_LINE)
    content = bytearray(archive.getvalue())
    content[field] = content[content.index(b"PK\x01\x02") + field + 2] = value
    outcome = shop.load(shop.write("events.csv.zip", bytes(content)))
    assert outcome.code == 1
    assert "the zip file is damaged or locked" in outcome.output
    assert fault in outcome.output


def test_a_folder_says_what_it_passed_over_and_reads_folders_of_parquet(shop: Shop) -> None:
    row = {"timestamp": [AT], "visitorid": ["v"], "event": ["view"], "itemid": ["i"], "transactionid": [None]}
    for part in (0, 1):
        path = shop.write(f"events.parquet/day={part}/part-{part}.parquet", b"")
        pq.write_table(pa.table(row | {"itemid": [str(part)]}), path)
    shop.write("events.parquet/_SUCCESS", "")
    shop.write("notes.txt", "x")
    shop.write("old/events.csv", "x")
    shop.write("meta.json", '{\n "a": 1\n}\n')
    outcome = shop.load()
    assert outcome.code == 0, outcome.output
    assert events(shop, "itemid") == [("0",), ("1",)]
    for said in ("meta.json (one JSON document", "notes.txt (its ending", "old/ (a folder"):
        assert said in outcome.output


def test_a_link_that_leads_nowhere_is_refused(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + GOOD_LINE)
    (shop.raw / "more.csv").symlink_to(shop.raw / "gone.csv")
    outcome = shop.load()
    assert outcome.code == 1
    assert "more.csv: a link to" in outcome.output


# --- errors in the mapping --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (MINIMAL + "time_format: epoch_s\ntime_zone: Europe/Berlin\n", ":4: time_zone: cannot apply"),
        (MINIMAL + 'time_format: "%Y-%m-%d %z"\ntime_zone: UTC\n', ":4: time_zone: cannot apply"),
        (MINIMAL + "constant_event: view\n", ":3: constant_event: says already"),
        (MINIMAL + "event_rules:\n  - {step: pay, when: {a: b}}\n", ":4: event_rules.0.step: 'pay' is none of"),
        (MINIMAL + "event_rules:\n  - {step: view, when: {a: {regex: '('}}}\n", "event_rules.0.when.a.regex: no reg"),
        (MINIMAL + "encoding: klingon\n", ":3: encoding: unknown encoding"),
        (MINIMAL + "currency: EUR\n", ":1: columns.currency: missing"),
        (PRICED, "currency: missing"),
        (PRICED + "currency: EUR\nexchange_rates: {USD: -1}\n", ":4: exchange_rates.USD: '-1' is no rate"),
        (PRICED + "currency: EUR\nexchange_rates: {eur: 2}\n", ":4: exchange_rates: eur stands twice, or is the curr"),
        (PRICED + "currency: EUR\nexchange_rates: {USD: 2, usd: 3}\n", ":4: exchange_rates: USD stands twice"),
        (MINIMAL + 'time_format: "%d.%m.%Y"\n', ":3: time_zone: needed, because time_format"),
        (MINIMAL.replace("at,", ","), ":1: columns.timestamp: must be text, found nothing"),
        (MINIMAL + "files: [{header: [a]}]\n", ":3: files.0.match: missing"),
        (MINIMAL + "files:\n  - match: a\n    quote: none\n    delimitr: x\n", ":6: files.0.delimitr: unknown key"),
        ("columns: {timestamp: at, visitor: who, item: thing}\n", "events: missing (or constant_event"),
        (MINIMAL + "? [a, b]\n: c\n", "not a readable YAML file"),
        (MINIMAL + f"delimiter: {'9' * 5000}\n", "not a readable YAML file"),
        (MINIMAL + "a: " + "[" * 5000 + "\n", "not a readable YAML file"),
        ("a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
        ), "too large"),
    ],
)  # fmt: skip
def test_an_error_names_key_and_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "shop.yml"
    path.write_text(content)
    with pytest.raises(UsageError) as error:
        read_mappings(path)
    assert said in str(error.value)


def test_a_zone_beside_epochs_is_refused_even_if_the_format_is_not_said(shop: Shop) -> None:
    outcome = load(shop, MINIMAL + "time_zone: Europe/Berlin\n", "e.csv", f"at,who,what,thing\n{AT},v,view,i\n", 1)
    assert "time_zone cannot apply to time_format epoch_ms" in outcome.output


def test_names_that_look_like_sql_are_names(shop: Shop) -> None:
    name = "x'); drop table block; --\"{0}$p_1"
    mapping = json.dumps({"columns": {"timestamp": "at", "visitor": name, "item": f"{name}.k[a=']].b"},
                          "constant_event": "view", "null_values": ["'"], "ignore_other_columns": True})  # fmt: skip
    row = {"at": AT, name: "v", f"{name}.k[a=']].b": "i"}
    load(shop, mapping, "e.jsonl", json.dumps(row) + "\n")
    assert events(shop, "visitorid, itemid") == [("v", "i")]


def test_ids_that_look_like_floats_are_told(shop: Shop) -> None:
    assert "end in .0" not in load(shop, MINIMAL, "e.csv", f"at,who,what,thing\n{AT},v,view,1.01\n").output
    assert "ids in itemid end in .0" in load(shop, MINIMAL, "f.csv", f"at,who,what,thing\n{AT},v,view,1.0\n").output


# --- hostile files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_of_line_ends_is_refused_while_it_is_read(
    shop: Shop, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_BLOCK_LINES", 50_000)
    monkeypatch.setattr(inputs, "READ_AHEAD_BYTES", 1000)
    content = EVENTS_HEADER.encode() + b"\n" * 4_000_000
    outcome = shop.load(shop.write(f"events.csv{ending}", gzip.compress(content) if ending else content))
    assert outcome.code == 1
    read = re.search(r"([\d,]+) of ([\d,]+) lines rejected", outcome.output)
    assert read is not None
    assert int(read[2].replace(",", "")) < (4_000_000 if not ending else 4_000_001)


def test_early_refusal_never_meets_a_file_that_would_have_passed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK_BYTES", 100)
    bad, good = "x\n" * 5, "".join(f"{AT},{visitor},view,i,\n" for visitor in range(500))
    outcome = shop.load(shop.write("events.csv", EVENTS_HEADER + bad + good))
    assert outcome.code == 0, outcome.output
    assert shop.rows(COUNTS) == [(505, 500, 5, 0)]


def test_a_pipe_does_not_hang_a_load(shop: Shop) -> None:
    os.mkfifo(shop.raw / "events.csv")
    outcome = shop.load(shop.raw / "events.csv")
    assert outcome.code == 1
    assert "not a file but a pipe" in outcome.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (EVENTS_HEADER.replace("\n", "\r") + GOOD_LINE.replace("\n", "\r"), "lines end in CR alone"),
        ('{"a":' * 20_000 + "1" + "}" * 20_000 + "\n", "no line of its first"),
    ],
)
def test_text_of_other_kinds_is_refused_in_words(shop: Shop, content: str, said: str) -> None:
    outcome = shop.load(shop.write("events.csv", content))
    assert outcome.code == 1
    assert said in outcome.output


def test_deep_json_costs_its_line(shop: Shop) -> None:
    deep = f'{{"at":{AT},"who":"v","what":"view","thing":' + "[" * 20_000 + "]" * 20_000 + "}\n"
    load(shop, MINIMAL, "e.jsonl", f'{{"at":{AT},"who":"v","what":"view","thing":"i"}}\n{deep}')
    assert events(shop, "itemid") == [("i",)]
    assert len(shop.rejects()) == 1


def test_a_path_that_is_too_long_is_an_error_in_words(shop: Shop) -> None:
    outcome = shop.load(shop.raw / ("x" * 300))
    assert outcome.code == 2
    assert "cannot be read" in outcome.output


def test_a_path_loads_without_a_locale(shop: Shop) -> None:
    path = shop.write("caf\u00e9/events.csv", EVENTS_HEADER + GOOD_LINE)
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "ingest", "load", "--raw", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert shop.rows("select file from funnelift_raw.raw_loads") == [(str(path),)]


def test_excels_first_line_says_the_delimiter_of_mapped_files_too(shop: Shop) -> None:
    lines = f"{AT};v;view;i\n{AT + 1};v;view;j\n"
    load(shop, MINIMAL, "named.csv", "sep=;\nat;who;what;thing\n" + lines)
    load(shop, MINIMAL + "header: [at, who, what, thing]\n", "plain.csv", "sep=;\n" + lines.replace(";v;", ";w;"))
    assert events(shop, "visitorid, itemid") == [("v", "i"), ("w", "i"), ("v", "j"), ("w", "j")]


@pytest.mark.parametrize(
    ("thousands", "prices"),
    [(" ", ["1 000,25", "1\u00a0000,25", "1\u202f000,25", "1\u2009000,25"]), ("'", ["1'000,25", "1\u2019000,25"])],
)
def test_marks_of_thousands_that_look_alike_are_one(shop: Shop, thousands: str, prices: list[str]) -> None:
    mapping = MINIMAL.replace("item: thing", "item: thing, price: cost") + f'decimal: ","\nthousands: "{thousands}"\n'
    lines = [f"{AT};v;view;{item};{price}" for item, price in enumerate(prices)]
    load(shop, mapping + 'delimiter: ";"\n', "e.csv", "\n".join(["at;who;what;thing;cost", *lines, ""]))
    assert events(shop, "price") == [(Decimal("1000.25"),)] * len(prices)
