"""`python -m ingest map`: what it guesses of an export that nobody has described, and that its file loads."""

import argparse
import gzip
import json
from pathlib import Path

import pytest

from ingest.guess import command
from ingest.guess.words import says, step_of
from ingest.mapping_file import read_mappings
from loading import EVENTS_HEADER, GOOD_LINE, Outcome, Shop, make_shop
from paths import ROOT

EXAMPLES = ROOT / "examples"
GERMAN = """Datum;Uhrzeit;Kunden-Nr;Aktion;Artikel-Nr;Preis;Menge;Währung;Bestellnummer;Farbe
31.01.2024;10:00:05;K1;Ansicht;A1;1.012,50;1;EUR;;grün
31.01.2024;10:01:05;K1;In den Warenkorb;A1;1.012,50;2;EUR;;grün
31.01.2024;10:02:05;K1;Kauf;A1;1.012,50;2;EUR;B1;grün
31.01.2024;10:03:05;K2;Suche;;;;;;
"""
AMERICAN = """eventTime\tuserId\tproductId\teventType\tunitPrice\torderId\tsessionId
1/31/2024 10:15\tu1\tp1\tViewProduct\t9.99\tNULL\ts1
1/31/2024 10:16\tu1\tp1\tAddToCart\tNULL\tNULL\ts1
1/31/2024 10:17\tu1\tp1\tRemoveFromCart\tNULL\tNULL\ts1
1/31/2024 10:18\tu1\tp1\tPurchase\t9.99\tNULL\ts1
"""
HEADERLESS = """1,2268318,2520377,pv,1511544070
1,2333346,2520771,pv,1511561733
1,2333346,2520771,fav,1511561740
2,2576651,149192,cart,1511572885
2,2576651,149192,buy,1511593493
"""
NESTED = [
    {"id": "e0", "ts": 1700000000000, "type": "page_view", "user": {"id": "u1"}},
    {"id": "e1", "ts": 1700000001000, "type": "product_view", "user": {"id": "u1"}, "product": {"sku": "P1"}},
    {"id": "e2", "ts": 1700000002000, "type": "cart_add", "user": {"id": "u1"}, "product": {"sku": "P1", "price": 3.5}},
    {
        "id": "e3",
        "ts": 1700000003000,
        "type": "order_placed",
        "user": {"id": "u1"},
        "order": {"id": "o1"},
        "lines": [{"sku": "P1", "price": 3.5, "qty": 2}, {"sku": "P2", "price": 1, "qty": 1}],
    },
]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    return make_shop(tmp_path, monkeypatch, capsys)


@pytest.fixture
def proposed(tmp_path: Path) -> Path:
    return tmp_path / "proposed.yml"


def _map(shop: Shop, out: Path, *paths: Path) -> Outcome:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["map", *map(str, paths), "--out", str(out)])
    return Outcome(args.run(args), shop.capture())


def _loaded(shop: Shop, out: Path, *paths: Path) -> list[tuple[object, ...]]:
    outcome = shop.load(*paths, options=["--mapping", str(out)])
    assert outcome.code == 0, outcome.output
    rows = shop.rows(
        "select visitorid, event, itemid, transactionid, price, quantity, timestamp from funnelift_raw.raw_events "
        "order by timestamp, itemid"
    )
    return [(*row[:4], row[4] and float(row[4]), row[5] and float(row[5]), row[6]) for row in rows]


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.yml")))
def test_a_known_format_gets_its_ready_mapping(shop: Shop, proposed: Path, name: str) -> None:
    outcome = _map(shop, proposed, EXAMPLES / "samples" / name)
    assert outcome.code == 0, outcome.output
    assert f"examples/{name}.yml" in proposed.read_text().splitlines()[0]
    assert read_mappings(proposed) == read_mappings(EXAMPLES / f"{name}.yml")


def test_a_german_spreadsheet_in_an_old_encoding(shop: Shop, proposed: Path) -> None:
    file = shop.write("export.csv", GERMAN.encode("cp1252"))
    outcome = _map(shop, proposed, file)
    assert outcome.code == 0, outcome.output
    assert not shop.warehouse.exists()
    assert "of its first 4 lines 3 events, 1 ignored, 0 rejected" in outcome.output
    assert "2024-01-31 10:02:05" in outcome.output
    assert proposed.read_text().count("# guess: ") > 10
    assert _loaded(shop, proposed, file) == [
        ("K1", "view", "A1", None, 1012.5, 1.0, 1706695205000),
        ("K1", "addtocart", "A1", None, 1012.5, 2.0, 1706695265000),
        ("K1", "transaction", "A1", "B1", 1012.5, 2.0, 1706695325000),
    ]


def test_excels_first_line_is_no_header(shop: Shop, proposed: Path) -> None:
    file = shop.write("e.csv", "sep=;\ntime;user;event;sku\n2024-03-01T10:00:00Z;u1;view;p1\n")
    outcome = _map(shop, proposed, file)
    assert outcome.code == 0, outcome.output
    assert [row[:3] for row in _loaded(shop, proposed, file)] == [("u1", "view", "p1")]


def test_tabs_american_times_and_nulls(shop: Shop, proposed: Path) -> None:
    file = shop.write("export.tsv", AMERICAN)
    assert _map(shop, proposed, file).code == 0
    [mapping] = read_mappings(proposed)
    assert (mapping.time_format, mapping.null_values) == ("%m/%d/%Y %H:%M", ["NULL"])
    assert [row[:5] for row in _loaded(shop, proposed, file)] == [
        ("u1", "view", "p1", None, 9.99),
        ("u1", "addtocart", "p1", None, None),
        ("u1", "removefromcart", "p1", None, None),
        ("u1", "transaction", "p1", None, 9.99),
    ]


def test_a_day_before_am_and_pm_has_its_month_first(shop: Shop, proposed: Path) -> None:
    """Of 3/4 either could be the month; who writes AM and PM is American."""
    rows = [("03/04/2024", "09:05:00 AM", "view"), ("03/05/2024", "01:05:00 PM", "purchase")]
    apart = "day,time,uid,event,sku\n" + "".join(f"{day},{time},u1,{event},p1\n" for day, time, event in rows)
    joined = "ts,uid,event,sku\n" + "".join(f"{day} {time},u1,{event},p1\n" for day, time, event in rows)
    for name, text in (("apart.csv", apart), ("joined.csv", joined)):
        file = shop.write(name, text)
        assert _map(shop, proposed, file).code == 0
        [mapping] = read_mappings(proposed)
        assert mapping.time_format == "%m/%d/%Y %I:%M:%S %p"
        assert "%d/%m/%Y" in proposed.read_text(), "the other reading is told"
        proposed.unlink()


def test_nanoseconds_since_1970(shop: Shop, proposed: Path) -> None:
    file = shop.write("e.csv", "ts,uid,event,sku\n1706695205123456789,u1,view,p1\n1706695206000000000,u1,view,p2\n")
    assert _map(shop, proposed, file).code == 0
    assert read_mappings(proposed)[0].time_format == "epoch_ns"
    assert [row[6] for row in _loaded(shop, proposed, file)] == [1706695205123, 1706695206000]


def test_a_delimiter_after_the_last_name_is_a_column_without_a_name(shop: Shop, proposed: Path) -> None:
    text = '"Event Time","Customer ID","Event Type","Product ID",\n"2024-01-31T10:00:05Z","u1","Product Viewed","p1",\n'
    file = shop.write("e.csv", text)
    outcome = _map(shop, proposed, file)
    assert outcome.code == 0, outcome.output
    assert [row[:3] for row in _loaded(shop, proposed, file)] == [("u1", "view", "p1")]


def test_a_name_that_stands_twice_in_the_header_is_told(shop: Shop, proposed: Path) -> None:
    file = shop.write("e.csv", "at,uid,event,sku,sku\n2024-01-31T10:00:05Z,u1,view,p1,p2\n")
    outcome = _map(shop, proposed, file)
    assert outcome.code == 1
    assert "the header has sku more than once" in outcome.output


def test_a_first_line_of_data_may_say_a_word_twice(shop: Shop, proposed: Path) -> None:
    timed = shop.write("e.csv", "1706695205000,u1,view,view\n1706695206000,u1,view,p1\n")
    assert _map(shop, proposed, timed).code == 0
    assert read_mappings(proposed)[0].header is not None
    proposed.unlink()
    untimed = _map(shop, proposed, shop.write("e.csv", "anna,view,view\nbert,view,shoe\n"))
    assert untimed.code == 1
    assert "more than once" not in untimed.output


def test_a_french_export(shop: Shop, proposed: Path) -> None:
    lines = ["vue;p1;12,50;1;", "ajout_panier;p1;12,50;2;", "achat;p1;12,50;2;c1"]
    dated = "".join(f"2024-03-01 10:00:0{place};u1;{line}\n" for place, line in enumerate(lines))
    file = shop.write("e.csv", f"date;client;événement;produit;prix;quantité;commande\n{dated}")
    assert _map(shop, proposed, file).code == 0
    assert [row[1:6] for row in _loaded(shop, proposed, file)] == [
        ("view", "p1", None, 12.5, 1.0),
        ("addtocart", "p1", None, 12.5, 2.0),
        ("transaction", "p1", "c1", 12.5, 2.0),
    ]


@pytest.mark.parametrize(
    ("prices", "read", "told"),
    [
        (
            ["1,250", "2,000,500", "999"],
            [1250, 2000500, 999],
            "1,250 is 1250 then; if it is 1 and 250 thousandths, say",
        ),
        (["1.250.000", "1.250", "999"], [1250000, 1250, 999], "1.250.000 is 1250000 then; if it is"),
        (["1.250", "12.500"], [1.25, 12.5], '1.250 is 1 and 250 thousandths then; if it is 1250, say decimal: "," and'),
        (["0,250", "1,250"], [0.25, 1.25], "as prices are written"),
    ],
)
def test_a_mark_before_three_digits_is_told(
    shop: Shop, proposed: Path, prices: list[str], read: list[float], told: str
) -> None:
    """It can part decimals or thousands; the one that was taken stands beside the other."""
    lines = "".join(f"2024-03-01T10:00:0{place}Z;u1;purchase;p1;{price}\n" for place, price in enumerate(prices))
    file = shop.write("e.csv", f"time;user;event;sku;price\n{lines}")
    assert _map(shop, proposed, file).code == 0
    assert told in proposed.read_text()
    assert [row[4] for row in _loaded(shop, proposed, file)] == read


@pytest.mark.parametrize(
    ("prices", "read"),
    [
        (["1'012.50", "99.00"], [1012.5, 99]),
        (["1\u202f012,50", "1\u00a0000 000,00", "99,00"], [1012.5, 1000000, 99]),
        (["1,00,000.50", "99.00"], [100000.5, 99]),
        (["12,50", "1.012,50", "99,5"], [12.5, 1012.5, 99.5]),
    ],
)
def test_marks_of_thousands_of_many_countries(shop: Shop, proposed: Path, prices: list[str], read: list[float]) -> None:
    lines = "".join(f"2024-03-01T10:00:0{place}Z;u1;purchase;p1;{price}\n" for place, price in enumerate(prices))
    file = shop.write("e.csv", f"time;user;event;sku;price\n{lines}")
    assert _map(shop, proposed, file).code == 0
    assert [row[4] for row in _loaded(shop, proposed, file)] == read


@pytest.mark.parametrize(
    ("name", "again", "is_mapped"), [("event_id", 1, True), ("id", 1, False), ("event_id", 3, False)]
)
def test_events_that_were_sent_again_have_the_id_of_the_first(
    shop: Shop, proposed: Path, name: str, again: int, is_mapped: bool
) -> None:
    """A clear name says what it is; others, or ids that come again often, may be those of something else."""
    places = [*range(10), *range(again)]
    lines = "".join(f"2024-03-01T10:00:0{place}Z,u1,view,p1,e{place}\n" for place in places)
    file = shop.write("e.csv", f"time,user,event,sku,{name}\n{lines}")
    assert _map(shop, proposed, file).code == 0
    assert (f"event_id: {name}" in proposed.read_text()) is is_mapped


def test_prices_that_are_no_numbers_are_told(shop: Shop, proposed: Path) -> None:
    file = shop.write("e.csv", "time,user,event,sku,amount\n2024-03-01T10:00:00Z,u1,purchase,p1,€12.50\n")
    assert _map(shop, proposed, file).code == 0
    assert "amount holds no plain numbers, such as €12.50" in proposed.read_text()


@pytest.mark.parametrize(("numbers", "odd"), [("12.50", "on request"), ("1.012,50", "auf Anfrage"), ("7", "?")])
def test_one_price_that_is_no_number_leaves_out_its_line_alone(
    shop: Shop, proposed: Path, numbers: str, odd: str
) -> None:
    lines = [f"2024-03-01T10:00:0{second}Z;u1;purchase;p1;{numbers};2" for second in range(4)]
    lines += [f"2024-03-01T10:00:05Z;u1;purchase;p1;{odd};2", f"2024-03-01T10:00:06Z;u1;purchase;p1;{numbers};some"]
    file = shop.write("e.csv", "\n".join(["time;user;event;sku;price;qty", *lines, ""]))
    outcome = _map(shop, proposed, file)
    assert outcome.code == 0, outcome.output
    text = proposed.read_text()
    assert f"1 of the sample are no numbers, such as {odd}: null_values or rejected" in text
    assert "1 of the sample are no numbers, such as some: null_values or rejected" in text
    assert "bad_price: 1" in outcome.output
    assert shop.load(file, options=["--mapping", str(proposed), "--max-reject-rate", "0.4"]).code == 0
    value = float(numbers.replace(".", "").replace(",", ".") if "," in numbers else numbers)
    found = shop.rows("select count(*), sum(price), sum(quantity) from funnelift_raw.raw_events")
    assert [(count, float(price), float(units)) for count, price, units in found] == [(4, 4 * value, 8.0)]


def test_lines_of_orders_are_purchases(shop: Shop, proposed: Path) -> None:
    lines = [{"product_id": 1, "quantity": 2, "price": "3.50"}, {"product_id": 2, "quantity": 1, "price": 4}]
    order = {"id": 1, "date": "2024-03-01T10:00:00", "customer_id": 7, "line_items": lines}
    file = shop.write("export.jsonl", json.dumps(order) + "\n")
    assert _map(shop, proposed, file).code == 0
    assert [row[:6] for row in _loaded(shop, proposed, file)] == [
        ("7", "transaction", "1", None, 3.5, 2.0),
        ("7", "transaction", "2", None, 4.0, 1.0),
    ]


def test_purchases_below_zero_are_taken_for_refunds(shop: Shop, proposed: Path) -> None:
    """Invoices of a wholesaler: a cancelled line has a number of its own."""
    lines = ["536365,85123A,6,2010-12-01 08:26:00,2.55,17850", "C536379,85123A,-1,2010-12-01 09:41:00,2.55,17850"]
    file = shop.write(
        "invoices.csv", "\n".join(["InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID", *lines, ""])
    )
    outcome = _map(shop, proposed, file)
    assert outcome.code == 0, outcome.output
    assert "# guess: 1 prices or quantities of the sample are below zero" in proposed.read_text()
    assert [row[:6] for row in _loaded(shop, proposed, file)] == [
        ("17850", "transaction", "85123A", "536365", 2.55, 6.0),
        ("17850", "refund", "85123A", "C536379", 2.55, 1.0),
    ]


def test_ids_that_look_like_decimals_are_ids_where_their_names_say_so(shop: Shop, proposed: Path) -> None:
    """A browser's id at Google Analytics is a random number, a point and its first second."""
    lines = ["1170.17,view_item,1704450000000,10.5,9.99", "1171.18,purchase,1704450001000,10.5,9.99"]
    file = shop.write("hits.csv", "\n".join(["user_pseudo_id,event_name,timestamp,product_id,price", *lines, ""]))
    outcome = _map(shop, proposed, file)
    assert outcome.code == 0, outcome.output
    assert [row[:5] for row in _loaded(shop, proposed, file)] == [
        ("1170.17", "view", "10.5", None, 9.99),
        ("1171.18", "transaction", "10.5", None, 9.99),
    ]


def test_a_known_format_is_known_though_some_visitors_refused_cookies(shop: Shop, proposed: Path) -> None:
    sample = (EXAMPLES / "samples" / "otto" / "sessions.jsonl").read_text()
    file = shop.write(
        "sessions.jsonl", sample + '{"session":null,"events":[{"aid":7,"ts":1661200011000,"type":"clicks"}]}\n'
    )
    outcome = _map(shop, proposed, file)
    assert "examples/otto.yml" in proposed.read_text().splitlines()[0]
    assert "1 rejected" in outcome.output


def test_lines_without_an_event_or_without_an_item_are_left_out(shop: Shop, proposed: Path) -> None:
    """Calls of a tracker: those of pages have no event, and some views no item."""
    lines = ["u1,,1704450000000,", "u1,view_item,1704450001000,p1", "u1,view_item,1704450002000,"]
    file = shop.write("calls.csv", "\n".join(["user_id,event_name,timestamp,product_id", *lines, ""]))
    outcome = _map(shop, proposed, file)
    assert "1 events, 2 ignored, 0 rejected" in outcome.output
    assert [row[:3] for row in _loaded(shop, proposed, file)] == [("u1", "view", "p1")]


def test_a_file_without_a_header(shop: Shop, proposed: Path) -> None:
    file = shop.write("UserBehavior.csv", HEADERLESS)
    assert _map(shop, proposed, file).code == 0
    [mapping] = read_mappings(proposed)
    assert mapping.header == ["visitor", "item", "column_3", "event", "timestamp"]
    assert [row[:3] for row in _loaded(shop, proposed, file)] == [
        ("1", "view", "2268318"),
        ("1", "view", "2333346"),
        ("2", "addtocart", "2576651"),
        ("2", "transaction", "2576651"),
    ]


def test_nested_json_with_a_list_of_products(shop: Shop, proposed: Path) -> None:
    text = "".join(json.dumps(record) + "\n" for record in NESTED)
    file = shop.write("events.json.gz", gzip.compress(text.encode()))
    outcome = _map(shop, proposed, file)
    assert outcome.code == 0, outcome.output
    [mapping] = read_mappings(proposed)
    assert mapping.columns.item == ["lines[].sku", "product.sku"]
    assert "page_view" in mapping.ignore_events
    assert [row[1:6] for row in _loaded(shop, proposed, file)] == [
        ("view", "P1", None, None, None),
        ("addtocart", "P1", None, 3.5, None),
        ("transaction", "P1", "o1", 3.5, 2.0),
        ("transaction", "P2", "o1", 1.0, 1.0),
    ]


def test_files_of_different_kinds_get_an_entry_each(shop: Shop, proposed: Path) -> None:
    clicks = shop.write("clicks [1].csv", "customer_id,product_id,date\nc1,p1,2024-01-01 10:00:00\n")
    header = "order_id,customer_id,product_id,created_at,quantity,total_price\n"
    orders = shop.write("orders.csv", header + "o1,c1,p1,2024-01-01 11:00:00,2,40.0\n")
    assert _map(shop, proposed, clicks, orders).code == 0
    assert [row[:6] for row in _loaded(shop, proposed, clicks, orders)] == [
        ("c1", "view", "p1", None, None, None),
        ("c1", "transaction", "p1", "o1", 20.0, 2.0),
    ]


def test_lines_without_an_item_are_left_out_by_a_rule(shop: Shop, proposed: Path) -> None:
    lines = "".join(f"2024-01-01 10:00:{second:02d},u1,{'' if second % 2 else 'p1'},view\n" for second in range(20))
    file = shop.write("export.csv", "time,user,product,action\n" + lines)
    assert _map(shop, proposed, file).code == 0
    assert "lines without an item" in proposed.read_text()
    assert len(_loaded(shop, proposed, file)) == 10


def test_a_file_of_the_contract_needs_no_mapping(shop: Shop, proposed: Path) -> None:
    outcome = _map(shop, proposed, shop.write("events.csv", EVENTS_HEADER + GOOD_LINE))
    assert (outcome.code, proposed.exists()) == (0, False)
    assert "needs no mapping" in outcome.output


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a,b,c\nx,y,z\n", "no column looks like a time; columns found: a, b, c"),
        ("time,b,c\n2024-01-01 00:00:00,y,z\n", "no column looks like a visitor"),
        ("time,user,c\n2024-01-01 00:00:00,y,z\n", "no column looks like an item"),
        ("time,b,c\n", "a header and no lines"),
        ("time,user\rproduct\n1,2\n", "its first line cannot be split into fields"),
        ("", "the file is empty"),
        ("[1]", "a JSON array"),
    ],
)
def test_what_cannot_be_guessed_is_told(shop: Shop, proposed: Path, content: str, complaint: str) -> None:
    outcome = _map(shop, proposed, shop.write("export.csv", content))
    assert (outcome.code, proposed.exists()) == (1, False)
    assert complaint in outcome.output


def test_no_file_is_overwritten(shop: Shop, proposed: Path) -> None:
    proposed.write_text("mine")
    outcome = _map(shop, proposed, shop.write("export.csv", HEADERLESS))
    assert (outcome.code, proposed.read_text()) == (2, "mine")
    assert "name another file" in outcome.output


def test_names_that_are_no_plain_words_stay_what_they_are(shop: Shop, proposed: Path) -> None:
    header = 'user_id,"#product {id}:",event_time,event_type,"on",a "b"\n'
    file = shop.write("export.csv", header + "u1,p1,2024-01-01 10:00:00,view,1,2\nu1,p1,2024-01-01 10:00:00,buy,1,2\n")
    assert _map(shop, proposed, file).code == 0
    [mapping] = read_mappings(proposed)
    assert mapping.columns.item == "#product {id}:"
    assert set(mapping.ignore_columns) == {"on", 'a "b"'}


def test_words_of_shops() -> None:
    steps = {
        "view": ["pv", "Product Viewed", "view_item", "clicks", "detail", "vue", "vista"],
        "addtocart": ["add_to_cart", "AddToCart", "carts", "Product Added", "add", "ajout_panier", "carrito"],
        "transaction": ["purchase", "Order Completed", "orders", "checkout_completed", "buy", "achat", "compra"],
        "removefromcart": ["remove_from_cart", "RemoveFromCart", "Product Removed"],
        "refund": ["refund", "Order Refunded", "gutschrift"],
        None: [
            "view_cart",
            "refund_requested",
            "refund policy viewed",
            "order_cancelled",
            "search",
            "begin_checkout",
            "scroll",
        ],
    }
    for step, names in steps.items():
        assert {name: step_of(name) for name in names} == dict.fromkeys(names, step)
    assert says("visitor", "user_id") > says("visitor", "user_session") > says("visitor", "user_agent") == 0
    assert says("item", "product.id") == says("item", "product_id") > says("item", "product_name") == 0
