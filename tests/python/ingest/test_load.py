"""The load command, from files to warehouse: what is accepted, what is refused, and that refusal leaves no trace."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from decimal import Decimal
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loading import ASSIGNMENTS_HEADER, EVENTS_HEADER, GOOD_LINE, Shop, make_shop
from paths import ROOT
from warehouse.duckdb import DuckDBRawTables

# Without the time of day: what tests are called must be the same in every process.
gzipped = partial(gzip.compress, mtime=0)
PROPERTIES = "timestamp,itemid,property,value\n1437879600000,26835,available,0\n1437879600000,224832,790,n124200.000\n"
TREE = "categoryid,parentid\n1016,213\n213,\n"
ALLOW_ALL = ["--max-reject-rate", "1"]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    return make_shop(tmp_path, monkeypatch, capsys)


def lines(count: int, start: int = 0) -> str:
    return "".join(f"{1437926001434 + n},{n},view,{n % 7},\n" for n in range(start, start + count))


# --- what loads ---------------------------------------------------------------------------------------------------


def test_a_rejected_line_commands_no_terminal(shop: Shop) -> None:
    lines = EVENTS_HEADER + GOOD_LINE + "never,\x1b[2J\x1b]0;x\x07,view,450209,\n"
    outcome = shop.load(shop.write("events.csv", lines))
    assert (outcome.code, "never,?[2J?]0;x?,view" in outcome.output) == (1, True)
    assert "\x1b]" not in outcome.output
    assert "\x1b[2J" not in outcome.output


def test_the_real_sample_loads_without_a_mapping(shop: Shop, shared_data: Path) -> None:
    outcome = shop.load(shared_data / "retailrocket_sample")
    assert outcome.code == 0
    assert shop.rows("select event, count(*) from funnelift_raw.raw_events group by 1 order by 2 desc") == [
        ("view", 2695),
        ("addtocart", 62),
        ("transaction", 14),
    ]
    assert shop.rows("select count(*), count(distinct visitorid) from funnelift_raw.raw_events") == [(2771, 1500)]
    roots = "select count(*), count(*) - count(parentid) from funnelift_raw.raw_category_tree"
    assert shop.rows(roots) == [(1669, 25)]
    assert shop.rows("select count(*) from funnelift_raw.raw_item_properties where property = '790'")[0][0] > 0
    assert shop.rejects() == []
    counts = "raw_table, line_count, accepted_count, rejected_count + ignored_count, is_synthetic"
    assert shop.rows(f"select {counts} from funnelift_raw.raw_loads order by 1") == [
        ("raw_category_tree", 1669, 1669, 0, False),
        ("raw_events", 2771, 2771, 0, False),
        ("raw_item_properties", 102, 102, 0, False),
    ]


def test_exact_duplicates_and_disorder_are_kept_for_staging_to_judge(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + GOOD_LINE + "1437926001433,80,view,1,\n" + GOOD_LINE)
    assert shop.load().code == 0
    assert shop.rows("select timestamp, visitorid from funnelift_raw.raw_events order by 1") == [
        (1437926001433, "80"),
        (1437926001434, "79"),
        (1437926001434, "79"),
    ]


def test_property_files_in_two_parts_go_into_one_table(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + GOOD_LINE)
    shop.write("item_properties_part1.csv", PROPERTIES)
    shop.write("item_properties_part2.csv", PROPERTIES.replace("26835", "26836"))
    assert shop.load().code == 0
    assert shop.rows("select count(*), count(distinct load_id) from funnelift_raw.raw_item_properties") == [(4, 2)]
    assert shop.rows("select value from funnelift_raw.raw_item_properties where property = '790' limit 1") == [
        ("n124200.000",)
    ]


def test_every_raw_table_exists_with_the_promised_types_even_where_nothing_was_loaded(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + GOOD_LINE)
    assert shop.load().code == 0
    load = "load_id VARCHAR, load_number BIGINT"
    found = shop.rows(
        "select table_name, string_agg(column_name || ' ' || data_type, ', ' order by column_index) "
        "from duckdb_columns() where schema_name = 'funnelift_raw' group by 1"
    )
    assert dict(found) == {
        "raw_events": "timestamp BIGINT, visitorid VARCHAR, event VARCHAR, itemid VARCHAR, transactionid VARCHAR, "
        "price DECIMAL(18,4), categoryid VARCHAR, event_id VARCHAR, line_number BIGINT, quantity DECIMAL(18,4), "
        + load,
        "raw_kept_events": "timestamp BIGINT, visitorid VARCHAR, event VARCHAR, itemid VARCHAR, transactionid VARCHAR, "
        "price DECIMAL(18,4), categoryid VARCHAR, event_id VARCHAR, line_number BIGINT, quantity DECIMAL(18,4), "
        "load_number BIGINT",
        "raw_item_properties": "timestamp BIGINT, itemid VARCHAR, property VARCHAR, value VARCHAR, " + load,
        "raw_category_tree": "categoryid VARCHAR, parentid VARCHAR, " + load,
        "raw_treatment_assignments": "visitorid VARCHAR, assigned_at BIGINT, treatment BIGINT, stratum VARCHAR, "
        "propensity DOUBLE, offer VARCHAR, " + load,
        "raw_loads": load + ", file VARCHAR, content_sha256 VARCHAR, mapping_sha256 VARCHAR, "
        "raw_table VARCHAR, bytes BIGINT, line_count BIGINT, accepted_count BIGINT, rejected_count BIGINT, "
        "ignored_count BIGINT, is_synthetic INTEGER, loaded_at TIMESTAMP",
        "raw_rejects": load + ", file VARCHAR, line BIGINT, reason VARCHAR, raw_text VARCHAR",
        "raw_unloads": load + ", file VARCHAR, raw_table VARCHAR, unloaded_at TIMESTAMP",
        "raw_retention": load + ", before_ms BIGINT, dropped_count BIGINT, retained_at TIMESTAMP",
    }


EVENT_ROWS = [
    {"timestamp": 1437926001434, "visitorid": "79", "event": "view", "itemid": "4", "transactionid": None},
    {"timestamp": 1437926001435, "visitorid": "079", "event": "transaction", "itemid": "5", "transactionid": "o1"},
]
AS_LOADED = [(1437926001434, "79", "view", "4", None), (1437926001435, "079", "transaction", "5", "o1")]
AS_CSV = EVENTS_HEADER + "1437926001434,79,view,4,\n1437926001435,079,transaction,5,o1\n"
AS_JSONL = "".join(json.dumps({k: v for k, v in row.items() if v is not None}) + "\n" for row in EVENT_ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events.csv", AS_CSV.encode()),
        ("a bom.csv", b"\xef\xbb\xbf" + AS_CSV.encode()),
        ("windows line ends.csv", AS_CSV.replace("\n", "\r\n").encode()),
        ("no last line end.csv", AS_CSV.rstrip("\n").encode()),
        (
            "other column order.csv",
            b"event,itemid,visitorid,timestamp,transactionid\nview,4,79,1437926001434,\n"
            b"transaction,5,079,1437926001435,o1\n",
        ),
        ("spaces.csv", AS_CSV.replace(",", " , ").encode()),
        ("quoted.csv", AS_CSV.replace("view", '"view"').encode()),
        ("events.csv.gz", gzipped(AS_CSV.encode())),
        ("two members.csv.gz", gzipped(AS_CSV[:60].encode()) + gzipped(AS_CSV[60:].encode())),
        ("events.jsonl", AS_JSONL.encode()),
        ("a bom.jsonl", b"\xef\xbb\xbf" + AS_JSONL.encode()),
        ("events.jsonl.gz", gzipped(AS_JSONL.encode())),
    ],
)
def test_the_same_events_load_from_every_text_form(shop: Shop, name: str, content: bytes) -> None:
    shop.write(name, content)
    outcome = shop.load()
    assert outcome.code == 0, outcome.output
    columns = "timestamp, visitorid, event, itemid, transactionid"
    assert shop.rows(f"select {columns} from funnelift_raw.raw_events order by 1") == AS_LOADED
    assert shop.rejects() == []


@pytest.mark.parametrize(
    "how", ["text ids", "dictionary-coded ids", "float ids from pandas", "typed time in UTC", "typed time without zone"]
)
def test_the_same_events_load_from_parquet(shop: Shop, how: str) -> None:
    table = pa.Table.from_pylist(EVENT_ROWS)
    expected = AS_LOADED
    if how == "float ids from pandas":
        table = table.set_column(1, "visitorid", pa.array([79.0, 1407580.0]))
        expected = [AS_LOADED[0], (*AS_LOADED[1][:1], "1407580", *AS_LOADED[1][2:])]
    if how == "dictionary-coded ids":
        table = table.set_column(1, "visitorid", table["visitorid"].dictionary_encode())
    if how.startswith("typed"):
        zone = "Europe/Berlin" if "UTC" in how else None
        table = table.set_column(0, "timestamp", table["timestamp"].cast(pa.timestamp("ms", zone)))
    pq.write_table(table, shop.raw / "events.parquet")
    outcome = shop.load()
    assert outcome.code == 0, outcome.output
    columns = "timestamp, visitorid, event, itemid, transactionid"
    assert shop.rows(f"select {columns} from funnelift_raw.raw_events order by 1") == expected


def test_parquet_rejects_name_the_row_and_show_it(shop: Shop) -> None:
    table = pa.Table.from_pylist([*EVENT_ROWS, EVENT_ROWS[0] | {"visitorid": " "}])
    pq.write_table(table, shop.raw / "events.parquet")
    assert shop.load(options=ALLOW_ALL).code == 0
    [(line, reason, text)] = shop.rejects()
    assert (line, reason, json.loads(text)["itemid"]) == (3, "empty_visitor", "4")


def test_a_parquet_number_that_is_not_a_number_is_blank(shop: Shop) -> None:
    table = pa.Table.from_pylist([EVENT_ROWS[0] | {"itemid": 4}, EVENT_ROWS[0] | {"itemid": 5}])
    pq.write_table(table.set_column(1, "visitorid", pa.array([float("nan"), 1e15])), shop.raw / "events.parquet")
    assert shop.load(options=ALLOW_ALL).code == 0
    assert [(line, reason) for line, reason, _ in shop.rejects()] == [(1, "empty_visitor")]
    assert shop.rows("select visitorid, itemid from funnelift_raw.raw_events") == [("1000000000000000", "5")]


def test_a_whole_decimal_of_parquet_is_a_whole_number(shop: Shop) -> None:
    table = pa.Table.from_pylist([EVENT_ROWS[0], EVENT_ROWS[0]])
    ids = pa.array([Decimal("12"), Decimal("7.5")], pa.decimal128(38, 9))
    pq.write_table(table.set_column(1, "visitorid", ids), shop.raw / "events.parquet")
    assert shop.load().code == 0
    found = shop.rows("select visitorid from funnelift_raw.raw_events order by 1")
    assert found == [("12",), ("7.500000000",)]


def test_a_json_key_that_comes_late_still_counts(shop: Shop) -> None:
    view = json.dumps({k: v for k, v in EVENT_ROWS[0].items() if v is not None}) + "\n"
    shop.write("events.jsonl", view * 15_000 + json.dumps(EVENT_ROWS[1]))
    assert shop.load().code == 0
    found = shop.rows("select transactionid from funnelift_raw.raw_events where event = 'transaction'")
    assert found == [("o1",)]


@pytest.mark.parametrize("said", ["sep=;\r\n", '"sep=;"\n', "\ufeffSEP=; \n"])
def test_excels_first_line_says_the_delimiter(shop: Shop, said: str) -> None:
    bad = "1437926001435;80;jump;1;\n"
    outcome = shop.load(
        shop.write("events.csv", said + (EVENTS_HEADER + GOOD_LINE).replace(",", ";") + bad), options=ALLOW_ALL
    )
    assert outcome.code == 0, outcome.output
    assert shop.rows("select visitorid, itemid from funnelift_raw.raw_events") == [("79", "450209")]
    assert shop.rejects() == [(4, "unknown_event", bad.strip())]
    assert shop.rows("select line_count from funnelift_raw.raw_loads") == [(2,)]


def test_a_header_without_lines_is_loaded_and_said_so(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER)
    outcome = shop.load()
    assert outcome.code == 0
    assert "a header and no lines" in outcome.output
    assert shop.rows("select line_count, accepted_count from funnelift_raw.raw_loads") == [(0, 0)]


# --- single lines that are rejected ---------------------------------------------------------------------------------

BAD_LINES = {
    "wrong_field_count": [b"1437926001434,79,view,450209", b"1437926001434,79,view,450209,,"],
    "empty_line": [b""],
    "bad_timestamp": [b"yesterday,79,view,1,", b",79,view,1,", b"1437926001434.5,79,view,1,", b"0x1F,79,view,1,"],
    "negative_timestamp": [b"-1437926001434,79,view,1,"],
    "too_old_timestamp": [b"0,79,view,1,", b"1437926001,79,view,1,"],
    "future_timestamp": [b"9437926001434,79,view,1,"],
    "unknown_event": [b"1437926001434,79,remove,1,", b"1437926001434,79,,1,", b"1437926001434,79,View,1,"],
    "empty_visitor": [b"1437926001434,,view,1,", b"1437926001434,  ,view,1,", b'1437926001434,"",view,1,'],
    "empty_item": [b"1437926001434,79,view,,"],
    "missing_transaction_id": [b"1437926001434,79,transaction,1,", b"1437926001434,79,transaction,1, "],
    "id_too_long": [
        b"1437926001434," + b"x" * 129 + b",view,1,",
        b"1437926001434,79,view," + "é".encode() * 129 + b",",
        b"1437926001434,79,transaction,1," + b"x" * 129,
    ],
    "invalid_utf8": [b"1437926001434,7\xff9,view,1,"],
    "nul_byte": [b"1437926001434,7\x009,view,1,"],
    "bad_quoting": [b'1437926001434,"79,view,1,', b'1437926001434,"7"9,view,1,'],
}


@pytest.mark.parametrize(("reason", "line"), [(reason, line) for reason, some in BAD_LINES.items() for line in some])
def test_a_bad_line_is_rejected_with_its_reason_number_and_text(shop: Shop, reason: str, line: bytes) -> None:
    before, after = lines(3), lines(200, start=3)
    shop.write("events.csv", EVENTS_HEADER.encode() + before.encode() + line + b"\n" + after.encode())
    outcome = shop.load()
    assert outcome.code == 0, outcome.output
    text = line.decode(errors="replace").replace("\0", "\ufffd")
    assert shop.rejects() == [(5, reason, text)]
    assert shop.rows("select line_count, accepted_count, rejected_count from funnelift_raw.raw_loads") == [
        (204, 203, 1)
    ]
    assert f"{reason}: 1" in outcome.output


@pytest.mark.parametrize(
    "rest", ["1437926001434,79,vi", "1437926001434,79,view,45020", '1437926001434,79,view,"45020', "1"]
)
def test_a_truncated_last_line_is_rejected_as_such(shop: Shop, rest: str) -> None:
    shop.write("events.csv", EVENTS_HEADER + lines(200) + rest)
    assert shop.load().code == 0
    assert shop.rejects() == [(202, "truncated_line", rest)]


def test_tomorrow_is_not_yet_the_far_future(shop: Shop) -> None:
    now = time.time_ns() // 1_000_000
    hours = [now + 23 * 3_600_000, now + 25 * 3_600_000]
    shop.write("events.csv", EVENTS_HEADER + "".join(f"{moment},79,view,1,\n" for moment in hours))
    assert shop.load(options=ALLOW_ALL).code == 0
    assert [(line, reason) for line, reason, _ in shop.rejects()] == [(3, "future_timestamp")]


def test_blanks_of_every_kind_around_an_id_are_dropped_and_others_stay(shop: Shop) -> None:
    shop.write(
        "events.csv", EVENTS_HEADER + "1437926001434, 79\u00a0,view,\u2003é é\u3000,\n1437926001435,7 9,view,1\t2,\n"
    )
    assert shop.load().code == 0
    found = shop.rows("select visitorid, itemid from funnelift_raw.raw_events order by timestamp")
    assert found == [("79", "é é"), ("7 9", "1\t2")]


@pytest.mark.parametrize("line", ["1437926001434,79\t,view,\t007 \t,", '1437926001434,"79\t",view, \t007,'])
def test_a_tab_that_keeps_a_spreadsheet_off_an_id_is_no_part_of_it(shop: Shop, line: str) -> None:
    shop.write("events.csv", f"{EVENTS_HEADER}{line}\n")
    assert shop.load().code == 0
    assert shop.rows("select visitorid, itemid from funnelift_raw.raw_events") == [("79", "007")]


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_line_end_that_was_written_twice_over_is_one(shop: Shop, quote: str) -> None:
    lines = [f"{n},1437926001434,79,view,{quote}450209{quote}" for n in ("", "t")]
    shop.write("events.csv", "\r\r\n".join(["transactionid,timestamp,visitorid,event,itemid", *lines, ""]))
    assert shop.load().code == 0
    assert shop.rows("select distinct itemid from funnelift_raw.raw_events") == [("450209",)]
    assert shop.rows("select line_count from funnelift_raw.raw_loads") == [(2,)]


def test_only_transactions_carry_transaction_ids(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + "1437926001434,79,view,1,x9\n1437926001435,79,transaction,1,x9\n")
    assert shop.load().code == 0
    found = shop.rows("select event, transactionid from funnelift_raw.raw_events order by 1")
    assert found == [("transaction", "x9"), ("view", None)]


def test_bad_lines_of_property_and_tree_files_are_rejected_too(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + GOOD_LINE)
    shop.write(
        "props.csv", PROPERTIES + "x,1,790,n1\n1437879600000,,790,n1\n1437879600000,1,,n1\n1437879600000,1,790,\n"
    )
    shop.write("tree.csv", TREE + ",4\n5\n")
    assert shop.load(options=ALLOW_ALL).code == 0
    assert [(line, reason) for line, reason, _ in shop.rejects()] == [
        (4, "bad_timestamp"),
        (5, "empty_item"),
        (6, "empty_property"),
        (4, "empty_category"),
        (5, "wrong_field_count"),
    ]
    assert shop.rows("select value from funnelift_raw.raw_item_properties where itemid = '1'") == [(None,)]
    assert shop.rows("select parentid from funnelift_raw.raw_category_tree where categoryid = '213'") == [(None,)]


def test_texts_that_some_engine_could_not_hold_are_rejected_on_all(shop: Shop) -> None:
    smiles, longer = "😀" * 128, "😀" * 129
    shop.write("events.csv", EVENTS_HEADER + f"1437926001434,{smiles},view,{smiles},{longer}\n")
    start = "1437879600000,"
    texts = [f"{smiles},{'é' * 255},n1", f"{longer},790,n1", f"1,{'p' * 256},n1", f"1,790,{'v' * (1 << 24)}"]
    shop.write("props.csv", PROPERTIES + "".join(f"{start}{text}\n" for text in texts))
    shop.write("tree.csv", TREE + f"{smiles},{smiles}\n{longer},1\n1,{longer}\n")
    assert shop.load(options=ALLOW_ALL).code == 0
    assert [(line, reason) for line, reason, _ in shop.rejects()] == [
        (5, "id_too_long"),
        (6, "property_too_long"),
        (7, "value_too_long"),
        (5, "id_too_long"),
        (6, "id_too_long"),
    ]
    # Only a transaction has a transaction id, so that of a view does no harm.
    assert shop.rows("select visitorid, itemid, transactionid from funnelift_raw.raw_events") == [
        (smiles, smiles, None)
    ]


def test_a_path_that_raw_loads_cannot_hold_is_refused(shop: Shop) -> None:
    path = shop.write("/".join(["f" * 250] * 5) + "/events.csv", EVENTS_HEADER + GOOD_LINE)
    outcome = shop.load(path)
    assert outcome.code == 1
    assert "more than 1,024 characters" in outcome.output


def test_bad_json_lines_are_rejected(shop: Shop) -> None:
    start = '{"timestamp": 1437926001434, "event": "view", "itemid": 1, "visitorid": '
    bad = ["not json", "[1, 2]", "", start + "null}", start + '"1", "color": "red"}', start + '"\\u0000"}', '{"timest']
    # The new key comes late enough not to be part of what the file is recognised by.
    good = AS_JSONL + '{"timestamp": 1437926001434, "visitorid": "79", "event": "view", "itemid": 4}\n' * 15000
    shop.write("events.jsonl", good + "\n".join(bad))
    outcome = shop.load()
    assert outcome.code == 0, outcome.output
    reasons = ["bad_json", "bad_json", "empty_line", "empty_visitor", "unknown_key", "nul_byte", "truncated_line"]
    assert shop.rejects() == [(15003 + n, *pair) for n, pair in enumerate(zip(reasons, bad, strict=True))]


def test_raw_text_is_kept_up_to_a_limit(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + "x" * 5000 + "\n")
    assert shop.load(options=ALLOW_ALL).code == 0
    assert shop.rejects() == [(2, "wrong_field_count", "x" * 2000)]


# --- who got the intervention -----------------------------------------------------------------------------------------

ASSIGNED = "select visitorid, assigned_at, treatment from funnelift_raw.raw_treatment_assignments order by all"
AS_ASSIGNED = [("079", 1437926001435, 0), ("79", 1437926001434, 1), ("80", 1437926001436, 1)]
ASSIGNMENTS = ASSIGNMENTS_HEADER + "79,1437926001434,treatment\n079,1437926001435,control\n80,1437926001436,1\n"


def assignment_rows() -> list[dict[str, object]]:
    cells = [line.split(",") for line in ASSIGNMENTS.splitlines()[1:]]
    return [{"visitorid": who, "assigned_at": int(ms), "treatment": arm} for who, ms, arm in cells]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("experiment.csv", ASSIGNMENTS.encode()),
        ("experiment.csv.gz", gzipped(ASSIGNMENTS.encode())),
        ("spaces and case.csv", ASSIGNMENTS.replace(",", " , ").replace("treatment\n0", "Treatment \n0").encode()),
        ("numbers.csv", ASSIGNMENTS.replace("control", "0").replace("434,treatment", "434,1").encode()),
        (
            "columns.csv",
            b"treatment,visitorid,assigned_at\n1,79,1437926001434\nCONTROL,079,1437926001435\n1,80,1437926001436\n",
        ),
        ("experiment.jsonl", "".join(json.dumps(row) + "\n" for row in assignment_rows()).encode()),
    ],
)
def test_the_same_assignments_load_from_every_text_form(shop: Shop, name: str, content: bytes) -> None:
    outcome = shop.load(shop.write(name, content))
    assert outcome.code == 0, outcome.output
    assert "treatment assignments" in outcome.output
    assert shop.rows(ASSIGNED) == AS_ASSIGNED
    assert shop.rows("select raw_table, accepted_count from funnelift_raw.raw_loads") == [
        ("raw_treatment_assignments", 3)
    ]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_the_same_assignments_load_from_parquet(shop: Shop, zone: str | None) -> None:
    table = pa.Table.from_pylist(assignment_rows())
    table = table.set_column(1, "assigned_at", table["assigned_at"].cast(pa.timestamp("ms", zone)))
    table = table.set_column(2, "treatment", pa.array([1.0, 0.0, 1.0]))
    pq.write_table(table, shop.raw / "experiment.parquet")
    assert shop.load(shop.raw / "experiment.parquet").code == 0
    assert shop.rows(ASSIGNED) == AS_ASSIGNED


BAD_ASSIGNMENTS = {
    "unknown_treatment": [
        "79,1437926001434,",
        "79,1437926001434, ",
        "79,1437926001434,B",
        "79,1437926001434,2",
        "79,1437926001434,1.0",
        "79,1437926001434,true",
        "79,1437926001434,treat ment",
    ],
    "empty_visitor": [",1437926001434,1", " ,1437926001434,control"],
    "id_too_long": ["x" * 129 + ",1437926001434,1"],
    "bad_timestamp": ["79,,1", "79,2015-07-26,1", "79,1437926001434.5,1"],
    "negative_timestamp": ["79,-1437926001434,1"],
    "too_old_timestamp": ["79,1437926001,1"],
    "future_timestamp": ["79,9437926001434,1"],
    "wrong_field_count": ["79,1437926001434", "79,1437926001434,1,"],
    "empty_line": [""],
    "bad_quoting": ['79,1437926001434,"1'],
}


@pytest.mark.parametrize(
    ("reason", "line"), [(reason, line) for reason, some in BAD_ASSIGNMENTS.items() for line in some]
)
def test_a_bad_assignment_is_rejected_with_its_reason_number_and_text(shop: Shop, reason: str, line: str) -> None:
    outcome = shop.load(
        shop.write("experiment.csv", ASSIGNMENTS + line + "\n" + "81,1437926001437,0\n"), options=ALLOW_ALL
    )
    assert outcome.code == 0, outcome.output
    assert shop.rejects() == [(5, reason, line)]
    assert shop.rows(ASSIGNED) == [*AS_ASSIGNED, ("81", 1437926001437, 0)]
    assert f"{reason}: 1" in outcome.output


def test_bad_json_assignments_are_rejected(shop: Shop) -> None:
    start = '{"visitorid": "v", "assigned_at": 1437926001434'
    good = start + ', "treatment": 1}\n'
    bad = [start + "}", start + ', "treatment": null}', start + ', "treatment": 1, "experiment": "x"}']
    # The new key comes late enough not to be part of what the file is recognised by.
    outcome = shop.load(shop.write("experiment.jsonl", good * 25_000 + "\n".join(bad) + "\n"))
    assert outcome.code == 0, outcome.output
    assert [(line, reason) for line, reason, _ in shop.rejects()] == [
        (25_001, "unknown_treatment"),
        (25_002, "unknown_treatment"),
        (25_003, "unknown_key"),
    ]


def test_assignments_say_strata_and_chances_where_they_have_them(shop: Shop) -> None:
    cells = ["treatment, North ,0.25", "control,,", "1,south,1", "0,south,0", "0,south,much", f"0,{'x' * 200},.5",
             "0,007,2e-1", "0,a,-0.5"]  # fmt: skip
    lines = [f"{number},1437926001434,{rest}" for number, rest in enumerate(cells, start=1)]
    path = shop.write(
        "a.csv", "\n".join(["visitorid,assigned_at,treatment,stratum,propensity", *lines]).encode() + b"\n"
    )
    assert shop.load(path, "--max-reject-rate", "1").code == 0
    columns = "visitorid, treatment, stratum, propensity"
    assert shop.rows(f"select {columns} from funnelift_raw.raw_treatment_assignments order by all") == [
        ("1", 1, "North", 0.25), ("2", 0, None, None), ("7", 0, "007", 0.2),
    ]  # fmt: skip
    assert [(line, reason) for line, reason, _ in shop.rejects()] == [
        (4, "bad_propensity"), (5, "bad_propensity"), (6, "bad_propensity"), (7, "id_too_long"), (9, "bad_propensity"),
    ]  # fmt: skip


def test_a_mapping_names_the_columns_of_strata_and_chances(shop: Shop) -> None:
    mapping = shop.write("m.yml", b"assignments: {columns: {stratum: block, propensity: p}}\n")
    path = shop.write("a.csv", b"visitorid,assigned_at,treatment,block,p\n1,1437926001434,1,b,0.3\n")
    assert shop.load(path, "--mapping", str(mapping)).code == 0
    rows = shop.rows("select stratum, propensity from funnelift_raw.raw_treatment_assignments")
    assert rows == [("b", 0.3)]
    lacking = shop.write("b.csv", b"visitorid,assigned_at,treatment,block\n2,1437926001434,1,b\n")
    assert "missing: p" in shop.load(lacking, "--mapping", str(mapping)).output
    ignoring = shop.write("i.yml", b"assignments: {ignore_columns: [stratum]}\n")
    path = shop.write("c.csv", b"visitorid,assigned_at,treatment,stratum\n3,1437926001434,1,b\n")
    assert shop.load(path, "--mapping", str(ignoring)).code == 0
    assert shop.rows("select stratum from funnelift_raw.raw_treatment_assignments where visitorid = '3'") == [(None,)]


def test_assignments_join_events_that_are_loaded_and_load_once(shop: Shop) -> None:
    assert shop.load(shop.write("events.csv", EVENTS_HEADER + GOOD_LINE)).code == 0
    for name, content in (("a.csv", ASSIGNMENTS.encode()), ("b.csv.gz", gzipped(ASSIGNMENTS.encode()))):
        outcome = shop.load(shop.write(name, content))
        assert outcome.code == 0
        assert ("already loaded" in outcome.output) == (name == "b.csv.gz")
        assert shop.rows(ASSIGNED) == AS_ASSIGNED
    # With other words: which of both readings holds must be said.
    mapping = shop.write("m.yml", "assignments: {arms: {treatment: control, control: treatment, '1': treatment}}\n")
    outcome = shop.load(shop.raw / "a.csv", options=["--mapping", str(mapping)])
    assert outcome.code == 1
    assert "different mapping" in outcome.output
    more = shop.write("more.csv", ASSIGNMENTS_HEADER + "99,1437926001434,0\n")
    assert shop.load(more).code == 0
    assert len(shop.rows(ASSIGNED)) == 4


def test_over_the_reject_rate_no_assignment_is_loaded(shop: Shop) -> None:
    outcome = shop.load(shop.write("experiment.csv", ASSIGNMENTS + "79,1437926001434,B\n"))
    assert outcome.code == 1
    assert "unknown_treatment: 1" in outcome.output
    assert shop.contents() == {}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("visitorid,assigned_at", ["as treatment assignments, missing: treatment"]),
        ("visitorid,assigned_at,arm", ["as treatment assignments, missing: treatment", "not expected: arm"]),
        ("visitorid,assigned_at,treatment,test", ["the column(s) test", "under assignments.ignore_columns"]),
        ("visitorid,assigned_at,treatment,treatment", ["treatment more than once"]),
        ("user,moment", ["treatment assignments: visitorid, assigned_at, treatment"]),
    ],
)
def test_a_wrong_header_of_assignments_is_refused(shop: Shop, header: str, said: list[str]) -> None:
    outcome = shop.load(shop.write("experiment.csv", f"{header}\n"))
    assert outcome.code == 1
    for fragment in said:
        assert fragment in outcome.output, outcome.output


# --- files and folders that are refused -----------------------------------------------------------------------------

GZ = gzipped((EVENTS_HEADER + lines(5000)).encode())
BAD_FILES = {
    "an empty file": ("events.csv", b"", ["events.csv", "0 bytes"]),
    "a zero-byte gzip": ("events.csv.gz", b"", ["events.csv.gz", "0 bytes"]),
    "a gzip of nothing": ("events.csv.gz", gzipped(b""), ["events.csv.gz", "empty"]),
    "blank lines only": ("events.csv", b"\n\n", ["events.csv", "empty"]),
    "a truncated gzip": ("events.csv.gz", GZ[: len(GZ) // 2], ["events.csv.gz", "ends early"]),
    "a damaged gzip": ("events.csv.gz", GZ[:500] + b"\0" * 100 + GZ[600:], ["events.csv.gz", "damaged"]),
    "a false gzip": ("events.csv.gz", AS_CSV.encode(), ["events.csv.gz", "not a gzip file"]),
    "a missing column": (
        "events.csv",
        b"timestamp,visitorid,event,transactionid\n",
        ["events.csv", "found the columns timestamp, visitorid, event, transactionid", "missing: itemid", "--mapping"],
    ),
    "a misnamed column": (
        "events.csv",
        b"time,visitorid,event,itemid,transactionid\n",
        ["missing: timestamp", "not expected: time", "--mapping"],
    ),
    "a wrong header": ("events.csv", b"name,colour\nx,y\n", ["found the columns name, colour", "categoryid, parentid"]),
    "no header": ("events.csv", GOOD_LINE.encode(), ["events.csv", "looks like data", "header"]),
    "a surplus column": (
        "events.csv",
        EVENTS_HEADER.replace("\n", ",colour\n").encode(),
        ["events.csv", "colour", "ignore_columns"],
    ),
    "a column twice": ("events.csv", EVENTS_HEADER.replace("\n", ",event\n").encode(), ["event more than once"]),
    "UTF-16 without its mark": ("events.csv", AS_CSV.encode("utf-16-le"), ["events.csv", "UTF-16", "utf-16-le"]),
    "UTF-16": ("events.csv", AS_CSV.encode("utf-16"), ["events.csv", "UTF-16", "save it as UTF-8"]),
    "a Latin-1 header": ("events.csv", b"zeit,bes\xfccher\n", ["events.csv", "not UTF-8"]),
    "a JSON array": ("events.json", b'[{"timestamp": 1}]', ["events.json", "one JSON object a line"]),
    "no JSON after all": ("events.jsonl", b"{zzz\n", ["events.jsonl", "JSON object"]),
    "a false Parquet file": ("events.parquet", b"PAR1" + b"x" * 100, ["events.parquet", "Parquet"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_by_name_and_nothing_is_written(shop: Shop, case: str) -> None:
    shop.write("good/events.csv", EVENTS_HEADER + GOOD_LINE)
    assert shop.load(shop.raw / "good").code == 0
    before = shop.contents()
    name, content, said = BAD_FILES[case]
    bad, fresh = shop.write(name, content), shop.write("fresh.csv", EVENTS_HEADER + lines(3))
    outcome = shop.load(fresh, bad)
    assert outcome.code == 1
    for fragment in said:
        assert fragment in outcome.output, outcome.output
    assert shop.contents() == before


def test_a_gzip_that_only_turns_out_truncated_at_its_end_changes_nothing(shop: Shop) -> None:
    shop.write("events.csv.gz", gzipped((EVENTS_HEADER + lines(200_000)).encode())[:-8])
    outcome = shop.load()
    assert outcome.code == 1
    assert "ends early" in outcome.output
    assert shop.contents() == {}


def test_all_bad_files_are_named_at_once(shop: Shop) -> None:
    shop.write("a.csv", b"")
    shop.write("b.csv", b"x,y\n")
    outcome = shop.load()
    assert outcome.code == 1
    assert "a.csv" in outcome.output
    assert "b.csv" in outcome.output


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "found nothing"),
        ({"notes.md": "x", "archive.zip": "x"}, "found archive.zip (its ending is none of data), notes.md"),
        ({"tree.csv": TREE, "props.csv": PROPERTIES}, "props.csv (item properties), tree.csv (category tree)"),
        ({"a.csv": ASSIGNMENTS}, "a.csv (treatment assignments). To load these alone, name the files themselves"),
    ],
)
def test_a_folder_without_events_is_refused_and_says_what_it_holds(
    shop: Shop, files: dict[str, str], said: str
) -> None:
    for name, content in files.items():
        shop.write(name, content)
    outcome = shop.load()
    assert outcome.code == 1
    assert "no events file" in outcome.output
    assert said in outcome.output
    assert shop.contents() == {}


def test_a_folder_may_hold_other_things_beside_the_data(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + GOOD_LINE)
    for name in ("README.txt", "dataset-metadata.json", ".hidden.csv", "old/events.csv"):
        shop.write(name, "nothing to load")
    assert shop.load().code == 0
    assert shop.rows("select count(*) from funnelift_raw.raw_loads") == [(1,)]


def test_files_named_one_by_one_need_no_events_among_them(shop: Shop) -> None:
    assert shop.load(shop.write("tree.csv", TREE)).code == 0
    assert shop.rows("select count(*) from funnelift_raw.raw_category_tree") == [(2,)]


# --- all or nothing -------------------------------------------------------------------------------------------------


def test_over_the_reject_rate_the_whole_load_fails_and_says_why(shop: Shop) -> None:
    shop.write("a_good.csv", EVENTS_HEADER + lines(500))
    bad = shop.write("events.csv", EVENTS_HEADER + lines(98, start=500) + "x,1,view,1,\n" + "1437926001434,,view,1,\n")
    outcome = shop.load()
    assert outcome.code == 1
    for fragment in (
        "nothing was written",
        "events.csv: 2 of 100 lines rejected (2.00%, allowed 1.00%)",
        "bad_timestamp: 1",
        "empty_visitor: 1",
        f"{bad}:100: x,1,view,1,",
    ):
        assert fragment in outcome.output, outcome.output
    assert shop.contents() == {}
    assert shop.load(options=["--max-reject-rate", "0.02"]).code == 0
    assert len(shop.rejects()) == 2


def test_at_the_reject_rate_it_still_loads(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + lines(99) + "x,1,view,1,\n")
    assert shop.load().code == 0


def test_the_same_content_again_is_a_no_op_under_any_name_and_packing(shop: Shop) -> None:
    content = EVENTS_HEADER + lines(10)
    first = shop.write("events.csv", content)
    assert shop.load(first).code == 0
    before = shop.contents()
    for name, again in (
        ("events.csv", content),
        ("copy.csv", content),
        ("copy.csv.gz", gzipped(content.encode())),
    ):
        packed = again if isinstance(again, bytes) else again.encode()
        outcome = shop.load(shop.write(f"again/{name}", packed))
        assert outcome.code == 0
        assert "already loaded" in outcome.output
        assert shop.contents() == before


def test_two_identical_files_in_one_command_count_once(shop: Shop) -> None:
    shop.write("a.csv", EVENTS_HEADER + lines(10))
    shop.write("b.csv", EVENTS_HEADER + lines(10))
    outcome = shop.load()
    assert outcome.code == 0
    assert "same content as" in outcome.output
    assert shop.rows("select count(*) from funnelift_raw.raw_events") == [(10,)]


def test_new_files_beside_loaded_ones_are_added(shop: Shop) -> None:
    shop.write("may.csv", EVENTS_HEADER + lines(10))
    assert shop.load().code == 0
    shop.write("june.csv", EVENTS_HEADER + lines(10, start=10))
    outcome = shop.load()
    assert outcome.code == 0
    assert "already loaded" in outcome.output
    assert shop.rows("select count(*), count(distinct visitorid) from funnelift_raw.raw_events") == [(20, 20)]


def test_the_same_content_with_another_mapping_is_refused(shop: Shop) -> None:
    path = shop.write("events.csv", EVENTS_HEADER + lines(10))
    assert shop.load(path).code == 0
    before = shop.contents()
    mapping = shop.write(
        "mapping.yml",
        "columns: {timestamp: timestamp, visitor: visitorid, event: event, item: itemid}\n"
        "events: {view: view}\nignore_columns: [transactionid]\n",
    )
    outcome = shop.load(path, options=["--mapping", str(mapping)])
    assert outcome.code == 1
    assert "different mapping" in outcome.output
    assert shop.contents() == before


@pytest.mark.parametrize("fails_in", ["raw_events", "raw_loads"])
def test_a_failure_half_way_leaves_the_warehouse_as_it_was(
    shop: Shop, fails_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write("events.csv", EVENTS_HEADER + lines(10))
    assert shop.load().code == 0
    before = shop.contents()
    shop.write("more.csv", EVENTS_HEADER + lines(10, start=10))
    original = DuckDBRawTables.append

    def failing(self: DuckDBRawTables, table: str, rows: pa.Table, **constants: str) -> int:
        written = original(self, table, rows, **constants)
        if table == fails_in:
            raise MemoryError("the machine has had enough")
        return written

    monkeypatch.setattr(DuckDBRawTables, "append", failing)
    with pytest.raises(MemoryError):
        shop.load()
    assert shop.contents() == before
    monkeypatch.undo()


def test_lines_that_do_not_add_up_fail_the_load(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    original = DuckDBRawTables.append

    def forgetful(self: DuckDBRawTables, table: str, rows: pa.Table, **constants: str) -> int:
        return original(self, table, rows.slice(1), **constants)

    monkeypatch.setattr(DuckDBRawTables, "append", forgetful)
    shop.write("events.csv", EVENTS_HEADER + lines(10))
    outcome = shop.load()
    assert outcome.code == 1
    assert "do not add up" in outcome.output
    assert shop.contents() == {}


def test_a_killed_load_leaves_the_warehouse_as_it_was(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + lines(10))
    assert shop.load().code == 0
    before = shop.contents()
    shop.write("more.csv", EVENTS_HEADER + lines(400_000, start=10))
    script = (
        "import argparse, pathlib, sys, time\n"
        "from ingest import load\n"
        "from warehouse.duckdb import DuckDBRawTables\n"
        "append = DuckDBRawTables.append\n"
        "def slow(self, table, rows, **constants):\n"
        "    written = append(self, table, rows, **constants)\n"
        "    print('written', rows.num_rows, flush=True)\n"
        "    time.sleep(60)\n"
        "    return written\n"
        "DuckDBRawTables.append = slow\n"
        "parser = argparse.ArgumentParser(); load.add_parser(parser.add_subparsers())\n"
        "args = parser.parse_args(['load', '--raw', sys.argv[1]]); args.run(args)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(shop.raw)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "written 400000\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert shop.contents() == before
    assert shop.load().code == 0
    assert shop.rows("select count(*) from funnelift_raw.raw_events") == [(400_010,)]


def test_a_file_that_changes_while_it_is_read_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shop.write("events.csv", EVENTS_HEADER + lines(10))
    original = DuckDBRawTables.append

    def meanwhile(self: DuckDBRawTables, table: str, rows: pa.Table, **constants: str) -> int:
        written = original(self, table, rows, **constants)
        with path.open("a") as file:
            file.write(GOOD_LINE)
        return written

    monkeypatch.setattr(DuckDBRawTables, "append", meanwhile)
    outcome = shop.load()
    assert outcome.code == 1
    assert "changed while it was being read" in outcome.output
    assert shop.contents() == {}


# --- synthetic data ---------------------------------------------------------------------------------------------------


def synthetic_folder(shop: Shop, name: str, start: int) -> Path:
    shop.write(f"{name}/synthetic.json", "{}")
    return shop.write(f"{name}/events.csv", EVENTS_HEADER + lines(5, start=start)).parent


def test_synthetic_data_are_marked(shop: Shop) -> None:
    assert shop.load(synthetic_folder(shop, "made", 0)).code == 0
    assert shop.rows("select is_synthetic from funnelift_raw.raw_loads") == [(True,)]


def test_synthetic_data_never_join_real_data(shop: Shop) -> None:
    made = synthetic_folder(shop, "made", 100)
    real = shop.write("real/events.csv", EVENTS_HEADER + lines(5)).parent
    outcome = shop.load(real, made)
    assert outcome.code == 1
    assert "real and synthetic" in outcome.output
    assert shop.load(real).code == 0
    before = shop.contents()
    for options in ([], ["--replace-synthetic"]):
        outcome = shop.load(made, options=options)
        assert outcome.code == 1
        assert "holds real data" in outcome.output
        assert shop.contents() == before


@pytest.mark.parametrize("kind", ["real", "other synthetic"])
def test_other_data_join_synthetic_ones_only_by_replacing_them(shop: Shop, kind: str) -> None:
    made = synthetic_folder(shop, "made", 0)
    if kind == "real":
        others = shop.write("real/events.csv", EVENTS_HEADER + lines(5, start=100)).parent
    else:
        others = synthetic_folder(shop, "others", 100)
    assert shop.load(made).code == 0
    before = shop.contents()
    outcome = shop.load(others)
    assert outcome.code == 1
    assert "--replace-synthetic" in outcome.output
    assert shop.contents() == before
    again = shop.load(made, options=["--replace-synthetic"])
    assert "already loaded" in again.output
    assert shop.contents() == before
    assert shop.load(others, options=["--replace-synthetic"]).code == 0
    assert shop.rows("select min(visitorid), count(*) from funnelift_raw.raw_events") == [("100", 5)]
    assert shop.rows("select is_synthetic from funnelift_raw.raw_loads") == [(kind != "real",)]


def test_assignments_are_kept_apart_and_replaced_with_the_rest(shop: Shop) -> None:
    made, real = synthetic_folder(shop, "made", 0), shop.write("real/experiment.csv", ASSIGNMENTS)
    shop.write("made/experiment.csv", ASSIGNMENTS_HEADER + "1,1437926001434,1\n")
    assert "real and synthetic" in shop.load(made, real).output
    assert shop.load(made).code == 0
    assert shop.rows(ASSIGNED) == [("1", 1437926001434, 1)]
    assert "--replace-synthetic" in shop.load(real).output
    assert shop.load(real, options=["--replace-synthetic"]).code == 0
    assert shop.rows(ASSIGNED) == AS_ASSIGNED
    assert shop.rows("select count(*) from funnelift_raw.raw_events") == [(0,)]
    assert "holds real data" in shop.load(made).output


def test_a_failed_replacement_keeps_the_synthetic_data(shop: Shop) -> None:
    assert shop.load(synthetic_folder(shop, "made", 0)).code == 0
    before = shop.contents()
    real = shop.write("real/events.csv", EVENTS_HEADER + "x,1,view,1,\n").parent
    assert shop.load(real, options=["--replace-synthetic"]).code == 1
    assert shop.contents() == before


# --- the command and its settings -----------------------------------------------------------------------------------


def run_command(shop: Shop, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ingest", "load", *arguments],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_exit_codes_of_the_command_line(shop: Shop) -> None:
    good = shop.write("events.csv", EVENTS_HEADER + lines(10))
    done = run_command(shop, "--raw", str(good))
    assert done.returncode == 0
    assert "accepted" in done.stdout
    assert run_command(shop, "--raw", str(shop.write("bad.csv", b""))).returncode == 1
    assert run_command(shop).returncode == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "oracle"], "--target: 'oracle'"),
        (["--mapping", "nowhere.yml"], "nowhere.yml: cannot read"),
    ],
)
def test_wrong_usage_is_exit_code_two(shop: Shop, options: list[str], said: str) -> None:
    shop.write("events.csv", EVENTS_HEADER + lines(10))
    outcome = shop.load(options=options)
    assert outcome.code == 2
    assert said in outcome.output
    assert shop.contents() == {}


def test_wrong_settings_are_exit_code_two(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write("events.csv", EVENTS_HEADER + lines(10))
    assert shop.load(shop.raw / "nowhere").code == 2
    with pytest.raises(SystemExit, match="2"):
        shop.load(options=["--max-reject-rate", "5"])
    for path in ("funnelift.duckdb", "funnelift_raw.db", "nowhere/w.duckdb"):
        monkeypatch.setenv("FUNNELIFT_DUCKDB_PATH", str(shop.raw / path))
        outcome = shop.load()
        assert outcome.code == 2
        assert "FUNNELIFT_DUCKDB_PATH" in outcome.output


def test_a_load_holds_no_more_in_memory_than_it_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write("events.csv", EVENTS_HEADER + lines(10))
    found = []
    create = DuckDBRawTables.create

    def spy(raw: DuckDBRawTables) -> None:
        found.extend(raw.query("select current_setting('memory_limit')"))
        create(raw)

    monkeypatch.setattr(DuckDBRawTables, "create", spy)
    assert shop.load().code == 0
    monkeypatch.setenv("FUNNELIFT_DUCKDB_MEMORY", "2 GiB")
    assert shop.load().code == 0
    assert found == [("953.6 MiB",), ("2.0 GiB",)]
    monkeypatch.setenv("FUNNELIFT_DUCKDB_MEMORY", "a lot")
    outcome = shop.load()
    assert outcome.code == 2
    assert "FUNNELIFT_DUCKDB_MEMORY: 'a lot' is no amount of memory" in outcome.output


def test_a_load_that_lacks_memory_names_the_setting(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    values = "".join(f"1437879600000,{item},text,{'x' * 8_000_000}\n" for item in range(4))
    path = shop.write("properties.csv", "timestamp,itemid,property,value\n" + values)
    monkeypatch.setenv("FUNNELIFT_DUCKDB_MEMORY", "10MB")
    outcome = shop.load(path)
    assert outcome.code == 1
    assert "FUNNELIFT_DUCKDB_MEMORY (now 10MB) allows more" in outcome.output
    monkeypatch.delenv("FUNNELIFT_DUCKDB_MEMORY")
    assert shop.load(path).code == 0


def test_rejected_lines_are_not_held_in_memory(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at between two blocks: while DuckDB packs 122,880 rows it needs more, however many lines there are."""
    path = shop.write("events.csv", EVENTS_HEADER + "".join(f"1,{n},view,{n:01900},\n" for n in range(80_000)))
    monkeypatch.setenv("FUNNELIFT_DUCKDB_MEMORY", "60MB")
    script = (
        "import os, pathlib\n"
        "import ingest.judge, ingest.load, ingest.reader\n"
        "ingest.judge.JOINED_BYTES, ingest.reader.CHUNK_BYTES = 4 << 20, 1 << 20\n"
        "write = ingest.load._write_block\n"
        "def spy(*values):\n"
        "    write(*values)\n"
        "    pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])\n"
        "    print(pages * os.sysconf('SC_PAGE_SIZE') >> 20)\n"
        "ingest.load._write_block = spy\n"
        "from ingest.__main__ import main\n"
        "assert main() == 0\n"
    )
    options = ["load", "--raw", str(path), *ALLOW_ALL]
    done = subprocess.run(
        [sys.executable, "-c", script, *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    held = [int(line) for line in done.stdout.splitlines() if line.isdigit()]
    assert shop.rows("select count(*) from funnelift_raw.raw_rejects") == [(80_000,)]
    assert len(held) > 30
    quarter = len(held) // 4
    # Half of the lines are 76 MB.
    assert min(held[-quarter:]) - min(held[quarter : 2 * quarter]) < 38, held


def test_the_command_line_wins_over_the_environment(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write("events.csv", EVENTS_HEADER + lines(10))
    monkeypatch.setenv("FUNNELIFT_TARGET", "oracle")
    outcome = shop.load()
    assert outcome.code == 2
    assert "FUNNELIFT_TARGET: 'oracle'" in outcome.output
    assert shop.load(options=["--target", "duckdb"]).code == 0


def test_a_warehouse_that_another_process_has_open_is_said_so(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + lines(10))
    holder = "import duckdb, sys\nc = duckdb.connect(sys.argv[1])\nprint('open', flush=True)\nsys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(shop.warehouse)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    outcome = shop.load()
    process.communicate("")
    assert outcome.code == 1
    assert "is in use by another program: wait" in outcome.output
    assert shop.load().code == 0


def test_a_file_that_is_no_warehouse_is_refused(shop: Shop) -> None:
    shop.write("events.csv", EVENTS_HEADER + lines(10))
    shop.warehouse.write_text("my diary\n" * 1000)
    outcome = shop.load()
    assert outcome.code == 1
    assert f"cannot open {shop.warehouse} as a DuckDB file" in outcome.output
    assert shop.warehouse.read_text().startswith("my diary")


def test_file_names_and_cells_are_data_and_never_sql(shop: Shop) -> None:
    nasty = "'; drop table funnelift_raw.raw_events; --"
    shop.write(f"{nasty}[bold].csv", EVENTS_HEADER + f'1437926001434,"{nasty}",view,"$1 {{}} %s",\n')
    assert shop.load().code == 0
    assert shop.rows("select visitorid, itemid from funnelift_raw.raw_events") == [(nasty, "$1 {} %s")]


def test_the_warehouse_holds_nothing_but_the_raw_schema(shop: Shop, shared_data: Path) -> None:
    shutil.copytree(shared_data / "retailrocket_sample", shop.raw, dirs_exist_ok=True)
    assert shop.load().code == 0
    with duckdb.connect(shop.warehouse, read_only=True) as connection:
        schemas = connection.execute("select distinct schema_name from duckdb_tables()").fetchall()
    assert schemas == [("funnelift_raw",)]
