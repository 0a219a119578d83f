"""Other shops: the mapping file, its errors, and what each of its keys does to the events."""

from decimal import Decimal
from pathlib import Path

import pytest

from ingest.mapping import RETAILROCKET
from ingest.mapping_file import read_mappings
from ingest.validate import category_paths
from loading import REES46_HEADER, Shop, make_shop
from paths import ROOT
from warehouse.errors import UsageError

REES46 = ROOT / "examples" / "rees46.yml"
MINIMAL = """
columns: {timestamp: at, visitor: who, event: what, item: thing}
events: {view: view, cart: addtocart, purchase: transaction}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    return make_shop(tmp_path, monkeypatch, capsys)


def load_mapped(shop: Shop, mapping: str, header: str, *lines: str, code: int = 0) -> str:
    path = shop.write("mapping.yml", mapping)
    events = shop.write("export.csv", "\n".join([header, *lines, ""]))
    outcome = shop.load(events, options=["--mapping", str(path), "--max-reject-rate", "1"])
    assert outcome.code == code, outcome.output
    return outcome.output


def events(shop: Shop, columns: str) -> list[tuple[object, ...]]:
    return shop.rows(f"select {columns} from funnelift_raw.raw_events order by timestamp")


# --- the shipped example ----------------------------------------------------------------------------------------------

REES46_LINES = (
    "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,aa\n"
    "2019-10-01 00:00:01 UTC,view,3900821,2053013552326770905,appliances.environment.water_heater,aqua,33.20,55,bb\n"
    '2019-10-01 00:00:02 UTC,cart,17200506,2053013559792632471,furniture.living,,"543.10",519107250,cc\n'
    "2019-10-01 00:00:03 UTC,remove_from_cart,17200506,2053013559792632471,furniture.living,,543.10,519107250,cc\n"
    "2019-10-01 00:00:04 UTC,purchase,17200506,2053013559792632471,furniture.living,,543.10,519107250,cc\n"
    "2019-10-01 00:00:05 UTC,view,1,2053013559792632471,furniture.living,,,519107250,cc\n"
)


def test_a_rees46_style_export_loads_with_the_shipped_mapping(shop: Shop) -> None:
    shop.write("2019-Oct.csv", REES46_HEADER + REES46_LINES)
    outcome = shop.load(options=["--mapping", str(REES46)])
    assert outcome.code == 0, outcome.output
    columns = "timestamp, visitorid, event, itemid, transactionid, price, categoryid"
    furniture = "furniture.living"
    assert events(shop, columns) == [
        (1569888000000, "541312140", "view", "44600062", None, Decimal("35.79"), "2103807459595387724"),
        (1569888001000, "55", "view", "3900821", None, Decimal("33.20"), "appliances.environment.water_heater"),
        (1569888002000, "519107250", "addtocart", "17200506", None, Decimal("543.10"), furniture),
        (1569888003000, "519107250", "removefromcart", "17200506", None, Decimal("543.10"), furniture),
        (1569888004000, "519107250", "transaction", "17200506", None, Decimal("543.10"), furniture),
        (1569888005000, "519107250", "view", "1", None, None, furniture),
    ]
    sums = "select line_count, accepted_count, rejected_count, ignored_count from funnelift_raw.raw_loads"
    assert shop.rows(sums) == [(6, 6, 0, 0)]
    tree = "select categoryid, parentid from funnelift_raw.raw_category_tree order by 1"
    assert shop.rows(tree) == [
        ("2103807459595387724", None),
        ("appliances", None),
        ("appliances.environment", "appliances"),
        ("appliances.environment.water_heater", "appliances.environment"),
        ("furniture", None),
        ("furniture.living", "furniture"),
    ]


def test_a_second_month_adds_only_the_categories_that_are_new(shop: Shop) -> None:
    shop.write("2019-Oct.csv", REES46_HEADER + REES46_LINES)
    assert shop.load(options=["--mapping", str(REES46)]).code == 0
    november = REES46_LINES.replace("2019-10", "2019-11").replace("furniture.living", "furniture.kitchen")
    shop.write("2019-Nov.csv", REES46_HEADER + november)
    assert shop.load(options=["--mapping", str(REES46)]).code == 0
    tree = "select count(*), count(distinct categoryid) from funnelift_raw.raw_category_tree"
    assert shop.rows(tree) == [(7, 7)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2019-10-01 00:00:00 UTC,wishlist,1,2,,,3.5,4,s", "unknown_event"),
        ("2019-10-01 00:00:00,view,1,2,,,3.5,4,s", "bad_timestamp"),
        ("2019-13-01 00:00:00 UTC,view,1,2,,,3.5,4,s", "bad_timestamp"),
        ("2019-10-01 00:00:00 UTC,view,1,2,,,-3.5,4,s", "bad_price"),
        ("2019-10-01 00:00:00 UTC,view,1,2,,,cheap,4,s", "bad_price"),
        ("2019-10-01 00:00:00 UTC,view,1,2,,,1_000,4,s", "bad_price"),
        ("2019-10-01 00:00:00 UTC,view,1,2,,,nan,4,s", "bad_price"),
        ("2019-10-01 00:00:00 UTC,view,1,2,,,3.5,,s", "empty_visitor"),
    ],
)
def test_bad_lines_of_a_mapped_file_are_rejected(shop: Shop, line: str, reason: str) -> None:
    shop.write("2019-Oct.csv", REES46_HEADER + line + "\n")
    assert shop.load(options=["--mapping", str(REES46), "--max-reject-rate", "1"]).code == 0
    assert shop.rejects() == [(2, reason, line)]


# --- what the keys do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time_format", "time_zone", "text", "expected"),
    [
        ("epoch_ms", None, "1569888000123", 1569888000123),
        ("epoch_s", None, "1569888000", 1569888000000),
        ("epoch_s", None, "1569888000.1239", 1569888000123),
        ("epoch_us", None, "1569888000123999", 1569888000123),
        ("epoch_ns", None, "1569888000123999999", 1569888000123),
        ("iso", None, "2019-10-01T00:00:00Z", 1569888000000),
        ("iso", None, "2019-10-01T00:00:00.1239Z", 1569888000123),
        ("iso", None, "2019-10-01 00:00:00 UTC", 1569888000000),
        ("iso", None, "2019-10-01T02:00:00+02:00", 1569888000000),
        ("iso", None, "2019-10-01T02:00:00+0200", 1569888000000),
        ("iso", None, "2019-09-30T19:30:00-0430", 1569888000000),
        ("iso", None, "2019-10-01T14:00:00+14:00", 1569888000000),
        ("iso", None, "2019-10-01T00:00:00+25:00", None),
        ("iso", None, "2019-10-01T00:00:00+02:75", None),
        ("iso", None, "2019-10-01T24:00:00+24:00", None),
        ("iso", None, "2019-09-30T24:00:00Z", 1569888000000),
        ("iso", None, "2019-10-01T00:00:00", None),
        ("iso", "Europe/Berlin", "2019-10-01T02:00:00", 1569888000000),
        ("iso", "Europe/Berlin", "2019-10-01T00:00:00Z", 1569888000000),
        ("iso", "UTC", "2019-10-01", None),
        ("iso", "UTC", "2019-02-30T00:00:00", None),
        ("%d.%m.%Y %H:%M", "Europe/Berlin", "01.10.2019 02:00", 1569888000000),
        ("%d.%m.%Y %H:%M", "Europe/Berlin", "01.12.2019 01:00", 1575158400000),
        ("%d.%m.%Y %H:%M", "UTC", "2019-10-01 00:00", None),
        ("%Y-%m-%d %H:%M:%S UTC", "UTC", "2019-10-01 00:00:00 UTC", 1569888000000),
        ("%Y-%m-%d %H:%M:%S %z", None, "2019-10-01 02:00:00 +0200", 1569888000000),
        ("%Y-%m-%d %H:%M:%S %Z", None, "2019-10-01 02:00:00 Europe/Berlin", 1569888000000),
    ],
)
def test_times_in_every_format(
    shop: Shop, time_format: str, time_zone: str | None, text: str, expected: int | None
) -> None:
    zone = f"time_zone: {time_zone}\n" if time_zone else ""
    load_mapped(shop, f'{MINIMAL}time_format: "{time_format}"\n{zone}', "at,who,what,thing", f"{text},v,view,i")
    if expected is None:
        assert [reason for _, reason, _ in shop.rejects()] == ["bad_timestamp"]
    else:
        assert events(shop, "timestamp") == [(expected,)]


def test_a_source_without_order_ids_may_leave_them_out(shop: Shop) -> None:
    load_mapped(shop, MINIMAL, "at,who,what,thing", "1569888000123,v,purchase,i")
    assert events(shop, "event, transactionid") == [("transaction", None)]


def test_a_source_with_order_ids_must_have_them_on_transactions(shop: Shop) -> None:
    mapping = MINIMAL.replace("item: thing", "item: thing, transaction: order")
    load_mapped(shop, mapping, "at,who,what,thing,order", "1569888000123,v,purchase,i,", "1569888000124,v,purchase,i,o")
    assert [reason for _, reason, _ in shop.rejects()] == ["missing_transaction_id"]
    assert events(shop, "transactionid") == [("o",)]


def test_extra_steps_events_left_out_and_events_ignored(shop: Shop) -> None:
    mapping = MINIMAL.replace("cart: addtocart", "cart: addtocart, pay: checkout") + "extra_steps: [checkout]\n"
    lines = [f"156988800012{n},v,{name},i" for n, name in enumerate(("view", "pay", "search", "share"))]
    load_mapped(shop, mapping + "ignore_events: [share]\n", "at,who,what,thing", *lines)
    assert events(shop, "event") == [("view",), ("checkout",)]
    assert [reason for _, reason, _ in shop.rejects()] == ["unknown_event"]
    assert shop.rows("select line_count, ignored_count from funnelift_raw.raw_loads") == [(4, 1)]


def test_all_other_events_are_ignored_only_on_request(shop: Shop) -> None:
    lines = ["1569888000123,v,view,i", "1569888000124,v,search,i", "x,v,share,i"]
    load_mapped(shop, MINIMAL + "ignore_other_events: true\n", "at,who,what,thing", *lines)
    sums = "select line_count, accepted_count, rejected_count, ignored_count from funnelift_raw.raw_loads"
    assert shop.rows(sums) == [(3, 1, 0, 2)]


def test_columns_that_nothing_is_said_about_are_refused_unless_ignored(shop: Shop) -> None:
    header, line = "at,who,what,thing,colour", "1569888000123,v,view,i,red"
    assert "colour" in load_mapped(shop, MINIMAL, header, line, code=1)
    for index, key in enumerate(("ignore_columns: [colour]", "ignore_other_columns: true")):
        load_mapped(shop, f"{MINIMAL}{key}\n", header, line.replace("red", f"red{index}"))
    assert len(events(shop, "visitorid")) == 2


def test_a_mapped_column_that_is_missing_is_named(shop: Shop) -> None:
    output = load_mapped(shop, MINIMAL, "at,user,what,thing", code=1)
    assert "export.csv" in output
    assert "missing: who" in output
    assert "not expected: user" in output


def test_another_delimiter(shop: Shop) -> None:
    load_mapped(shop, MINIMAL + 'delimiter: "\\t"\n', "at\twho\twhat\tthing", "1569888000123\tv\tview\ta,b")
    assert events(shop, "itemid") == [("a,b",)]


def test_contract_files_may_stand_beside_mapped_events(shop: Shop) -> None:
    shop.write("mapping.yml", MINIMAL + 'time_format: epoch_s\ndelimiter: ";"\n')
    shop.write("export.csv", "at;who;what;thing\n1569888000;v;view;i\n")
    shop.write("tree.csv", "categoryid,parentid\n1,\n")
    shop.write("props.csv", "timestamp,itemid,property,value\n1569888000000,i,categoryid,1\n")
    assert shop.load(options=["--mapping", str(shop.raw / "mapping.yml")]).code == 0
    assert events(shop, "timestamp") == [(1569888000000,)]
    assert shop.rows("select timestamp from funnelift_raw.raw_item_properties") == [(1569888000000,)]


def test_a_mapping_reads_json_lines_with_odd_keys(shop: Shop) -> None:
    mapping = shop.write(
        "m.yml",
        'columns: {timestamp: "t/s", visitor: "a.b", event: "~e", item: "$i", price: p}\nevents: {view: view}\n',
    )
    shop.write("e.jsonl", '{"t/s": 1569888000000, "a.b": 12345678901234567890, "~e": "view", "$i": "i"}\n'
               '{"t/s": 1569888000001, "a.b": "v", "~e": "view", "$i": "i", "p": 12.5}\n')  # fmt: skip
    assert shop.load(options=["--mapping", str(mapping)]).code == 0
    assert events(shop, "visitorid, price") == [("12345678901234567890", None), ("v", Decimal("12.5"))]


def test_every_level_of_a_category_path_has_one_parent() -> None:
    assert category_paths({"a.b.c", "a.d", "7"}, ".").to_pylist() == [
        {"categoryid": "7", "parentid": None},
        {"categoryid": "a.b.c", "parentid": "a.b"},
        {"categoryid": "a.b", "parentid": "a"},
        {"categoryid": "a", "parentid": None},
        {"categoryid": "a.d", "parentid": "a"},
    ]


# --- an experiment's export -------------------------------------------------------------------------------------------

EXPERIMENT = """
assignments:
  columns: {visitor: user, assigned_at: at, treatment: variant}
  arms: {A: control, B: treatment}
"""
ASSIGNED = "select visitorid, assigned_at, treatment from funnelift_raw.raw_treatment_assignments order by 1"


def test_an_experiment_with_other_columns_times_and_arms(shop: Shop) -> None:
    more = '  ignore_arms: [C]\n  time_format: iso\n  ignore_columns: [test]\n  delimiter: ";"\n'
    lines = [f"{arm};u{n};2015-07-01T02:00:00+02:00;x" for n, arm in enumerate(("A", "b", " c ", "D", "treatment"))]
    output = load_mapped(shop, EXPERIMENT + more, "variant;user;at;test", *lines)
    assert shop.rows(ASSIGNED) == [("u0", 1435708800000, 0), ("u1", 1435708800000, 1)]
    assert [(line, reason) for line, reason, _ in shop.rejects()] == [
        (5, "unknown_treatment"),
        (6, "unknown_treatment"),
    ]
    assert shop.rows("select line_count, ignored_count from funnelift_raw.raw_loads") == [(5, 1)]
    assert "treatment assignments" in output


def test_several_offers_keep_their_names(shop: Shop) -> None:
    mapping = EXPERIMENT.replace("{A: control, B: treatment}", "{none: control, Coupon: offer, call: offer}")
    arms = ("none", "COUPON", "call", "mail")
    lines = [f"{arm},u{n},1435708800000" for n, arm in enumerate(arms)]
    load_mapped(shop, mapping, "variant,user,at", *lines)
    found = shop.rows("select visitorid, treatment, offer from funnelift_raw.raw_treatment_assignments order by 1")
    assert found == [("u0", 0, None), ("u1", 1, "Coupon"), ("u2", 1, "call")]
    assert [reason for _, reason, _ in shop.rejects()] == ["unknown_treatment"]


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("time_format: epoch_s", "1435708800.9"),
        ("time_format: epoch_us", "1435708800900000"),
        ("time_format: iso\n  time_zone: Europe/Berlin", "2015-07-01 02:00:00.9"),
        ('time_format: "%d.%m.%Y %H:%M:%S.%f"\n  time_zone: UTC', "01.07.2015 00:00:00.9"),
        ('time_format: "%Y-%m-%d %H:%M:%S.%f %z"', "2015-07-01 02:00:00.9 +0200"),
    ],
)
def test_times_of_assignments_in_every_format(shop: Shop, time: str, text: str) -> None:
    load_mapped(shop, f"{EXPERIMENT}  {time}\n", "user,at,variant", f"v,{text},A")
    assert shop.rows(ASSIGNED) == [("v", 1435708800900, 0)]


def test_what_an_experiment_leaves_out_is_as_in_the_contract(shop: Shop) -> None:
    mapping = "assignments: {columns: {treatment: arm}, ignore_other_columns: true}\n"
    load_mapped(shop, mapping, "arm,visitorid,test,assigned_at", "Control,v,x,1435708800000", "1,w,x,1435708800000")
    assert shop.rows(ASSIGNED) == [("v", 1435708800000, 0), ("w", 1435708800000, 1)]
    shop.write("events.csv", "timestamp,visitorid,event,itemid,transactionid\n1569888000000,v,view,i,\n")
    assert shop.load(shop.raw / "events.csv", options=["--mapping", str(shop.raw / "mapping.yml")]).code == 0
    assert events(shop, "itemid") == [("i",)]


def test_events_and_assignments_of_one_mapping_load_together(shop: Shop) -> None:
    mapping = shop.write("mapping.yml", MINIMAL + "time_format: epoch_s\n" + EXPERIMENT)
    shop.write("export.csv", "at,who,what,thing\n1569888000,v,view,i\n")
    shop.write("experiment.csv", "user,at,variant\nv,1569888000000,B\n")
    assert shop.load(options=["--mapping", str(mapping)]).code == 0
    assert events(shop, "timestamp") == [(1569888000000,)]
    assert shop.rows(ASSIGNED) == [("v", 1569888000000, 1)]


def test_a_misnamed_column_of_a_mapped_experiment_is_named(shop: Shop) -> None:
    output = load_mapped(shop, EXPERIMENT, "user,when,variant", code=1)
    assert "as treatment assignments as mapped, missing: at; not expected: when" in output


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("  evnts: 1\n", "assignments.evnts: unknown key"),
        ("  ignore_columns: [user]\n", "assignments: columns: user named more than once"),
        ("  ignore_arms: [a]\n", "assignments: arms: a named more than once"),
        ("  time_format: unix\n", "assignments: time_format: 'unix' is none of epoch_s"),
        ('  time_format: "%Y"\n', "assignments: time_zone: needed"),
        ("  time_zone: Mars/Base\n", "assignments.time_zone: unknown time zone 'Mars/Base'"),
        ('  delimiter: ""\n', "assignments.delimiter: must be one character"),
        ("columns: {visitor: user}\n", "columns.timestamp: missing"),
    ],
)
def test_an_error_in_the_experiments_mapping_names_its_key(tmp_path: Path, more: str, said: str) -> None:
    path = tmp_path / "shop.yml"
    path.write_text(EXPERIMENT + more)
    with pytest.raises(UsageError) as error:
        read_mappings(path)
    assert said in str(error.value).removeprefix(f"{path}:")


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ("{A: control}", "arms: none is the treatment"),
        ("{A: treatment, B: treatment}", "arms: none is the control"),
        ("{A: control, B: variant}", "arms.B: Input should be 'treatment', 'control' or 'offer'"),
        ("{A: control, B: treatment, C: offer}", "arms: say treatment where there is one, offer of each"),
        (f"{{A: control, {'B' * 65}: offer}}", "is longer than 64 characters"),
        ("{A: control, a: treatment}", "arms: a named more than once"),
        ("{0: control, 1: treatment}", "arms.0: must be text, found 0; put it in quotes"),
    ],
)
def test_arms_that_make_no_experiment_are_refused(tmp_path: Path, arms: str, said: str) -> None:
    path = tmp_path / "shop.yml"
    path.write_text(EXPERIMENT.replace("{A: control, B: treatment}", arms))
    with pytest.raises(UsageError) as error:
        read_mappings(path)
    assert said in str(error.value)


def test_files_that_were_loaded_before_are_still_known(tmp_path: Path) -> None:
    """What raw_loads holds of files loaded by an older version must not look like another mapping."""
    loaded = "757e457380fe13e8f86a90ac2790de1b0f04ec9fe27f15ea6d98e1f6a33181e2"
    assert RETAILROCKET.fingerprint() == loaded
    path = tmp_path / "shop.yml"
    path.write_text(EXPERIMENT)
    mapping = read_mappings(path)[0]
    assert mapping.fingerprint() == loaded
    assert mapping.assignments.fingerprint() != RETAILROCKET.assignments.fingerprint()


# --- errors in the mapping file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected keys such as columns and events"),
        ("- a\n", "expected keys such as columns and events"),
        ("columns: [", "not a readable YAML file"),
        ("columns: {timestamp: at}\nevents: {view: view}\n", "columns.visitor: missing"),
        ("columns: {timestamp: at, visitor: who, event: what, item: thing}\n", "events: missing"),
        (MINIMAL + "evnts: {}\n", "evnts: unknown key"),
        (MINIMAL.replace("item:", "items: thing, item:"), "columns.items: unknown key"),
        (MINIMAL.replace("view: view", "1: view"), "events.1: must be text, found 1; put it in quotes"),
        (
            MINIMAL.replace("cart: addtocart", "on: addtocart"),
            "events.True: must be text, found True; put it in quotes",
        ),
        (MINIMAL.replace("cart: addtocart", "cart: basket"), "events.cart: 'basket' is none of view, addtocart"),
        (MINIMAL.replace("cart:", "view:"), "'view' stands twice"),
        (MINIMAL + "extra_steps: [Check Out]\n", "extra_steps: 'Check Out' must be"),
        (MINIMAL + "extra_steps: [view]\n", "extra_steps: 'view' must be a new name"),
        (MINIMAL + f"extra_steps: [{'s' * 65}]\n", "is longer than 64 characters"),
        (MINIMAL + "ignore_events: [view]\n", "ignore_events: view also stands in events"),
        (MINIMAL + "ignore_columns: [who]\n", "who named more than once"),
        (MINIMAL.replace("item: thing", "item: who"), "who named more than once"),
        (MINIMAL + "time_format: unix\n", "time_format: 'unix' is none of epoch_s, epoch_ms, epoch_us, epoch_ns, iso"),
        (MINIMAL + 'time_format: "%Y-%Q"\ntime_zone: UTC\n', "time_format:"),
        (MINIMAL + 'time_format: "%Y-%m-%d"\n', "time_zone: needed"),
        (MINIMAL + "time_zone: Mars/Base\n", "time_zone: unknown time zone 'Mars/Base'"),
        (MINIMAL + 'delimiter: "||"\n', "delimiter: must be one character"),
        (MINIMAL + 'delimiter: "\\""\n', "delimiter: must be one character"),
        (MINIMAL + 'category_path_separator: "."\n', "category_path_separator: needs columns.category"),
        (MINIMAL + "ignore_other_columns: maybe\n", "ignore_other_columns:"),
    ],
)
def test_an_error_in_the_mapping_names_file_and_key(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "shop.yml"
    path.write_text(content)
    with pytest.raises(UsageError) as error:
        read_mappings(path)
    assert str(path) in str(error.value)
    assert said in str(error.value)
    assert error.value.exit_code == 2


def test_a_comment_does_not_make_another_mapping(tmp_path: Path) -> None:
    path = tmp_path / "shop.yml"
    path.write_text(MINIMAL)
    before = read_mappings(path)[0].fingerprint()
    path.write_text("# our shop\n" + MINIMAL)
    assert read_mappings(path)[0].fingerprint() == before
    path.write_text(MINIMAL + "ignore_events: [search]\n")
    assert read_mappings(path)[0].fingerprint() != before
