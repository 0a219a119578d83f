"""The same raw files give the same rows, figures and predictions on every engine, compared cell by cell.

Two shops are loaded, built and trained on as users do it, each command a process of its own: on DuckDB, on the tests'
MySQL or MariaDB server, and on a second server where FUNNELIFT_TEST_SECOND_MYSQL_* names one.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nasty_shop import BAD_ASSIGNMENTS, IDS, ORDINARY_VISITORS, ROBOT, ROBOT_EVENTS, nasty_world
from parity import Relation, differences, on_duckdb, on_server
from parity_shops import (
    BI_KEYS,
    KEYS,
    PREDICTION_TOLERANCE,
    PUBLISHED,
    Built,
    Pair,
    RawFiles,
    assert_same,
    nasty,
    sample,
)
from paths import ROOT
from servers import SECOND, DatabaseServer, named_server

SHOPS = ("sample", "nasty")


@pytest.fixture(scope="module")
def raw_files(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RawFiles]:
    return {"sample": sample(shared_data), "nasty": nasty(tmp_path_factory.mktemp("nasty"), is_trained_on=True)}


@pytest.fixture(scope="module")
def expected(
    raw_files: dict[str, RawFiles], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Built]]]:
    """Both shops on DuckDB, built while the server builds them too."""

    def build(shop: str) -> Built:
        folder = tmp_path_factory.mktemp(f"{shop}_duckdb")
        return raw_files[shop].build(on_duckdb(folder / "warehouse.duckdb"), folder)

    with ThreadPoolExecutor(1) as pool:
        yield {shop: pool.submit(build, shop) for shop in SHOPS}


@pytest.fixture(scope="module", params=["first", *(["second"] if named_server(SECOND) else [])])
def server(request: pytest.FixtureRequest, mysql_server: DatabaseServer) -> DatabaseServer:
    second = named_server(SECOND) if request.param == "second" else None
    return second or mysql_server


@pytest.fixture(scope="module", params=SHOPS)
def pair(
    request: pytest.FixtureRequest,
    server: DatabaseServer,
    raw_files: dict[str, RawFiles],
    expected: dict[str, Future[Built]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Pair:
    server.drop_databases()
    warehouse = on_server(server)
    found = raw_files[request.param].build(warehouse, tmp_path_factory.mktemp(f"{request.param}_server"))
    return Pair(warehouse.name, expected[request.param].result(), found)


def test_every_model_has_the_same_rows(pair: Pair) -> None:
    assert_same(pair, "relations", KEYS)


def test_people_read_the_same(pair: Pair) -> None:
    assert_same(pair, "bi", BI_KEYS, PREDICTION_TOLERANCE)


def test_every_analysis_gives_the_same_answer(pair: Pair) -> None:
    assert_same(pair, "analyses", dict.fromkeys(path.stem for path in (ROOT / "analyses").glob("*.sql")))


@pytest.mark.parametrize("pair", ["nasty"], indirect=True)
def test_a_training_gives_the_same_predictions_and_figures(pair: Pair) -> None:
    assert_same(pair, "published", PUBLISHED, PREDICTION_TOLERANCE)


@pytest.mark.parametrize("pair", ["nasty"], indirect=True)
def test_the_nasty_shop_is_as_nasty_as_it_means_to_be(pair: Pair) -> None:
    def values(table: str, column: str) -> list[Any]:
        relation = pair.found.relations[table]
        return [row[relation.columns.index(column)] for row in relation.rows]

    assert set(IDS) <= set(values("sessions", "visitor_id"))
    assert set(IDS) <= set(values("int_items", "item_id"))
    assert len({text.casefold() for text in IDS}) < len(IDS) - 5
    texts = {each.value for each in nasty_world().properties if each.value is not None}
    assert {"007", "1e3", "12.", "-5", "99999999999999.99995", "0.00005", "1" * 40} <= texts
    assert {128, 129} <= set(map(len, texts))
    prices = set(values("int_item_attributes", "price"))
    assert {None, Decimal("99999999999999.9999"), Decimal("0.0001"), Decimal("7.0000"), Decimal("0.3333")} <= prices
    events = dict(zip(values("sessions", "session_id"), values("sessions", "event_count"), strict=True))
    assert sum(number for session, number in events.items() if session.startswith(ROBOT)) >= ROBOT_EVENTS
    assert ROBOT in set(values("int_bot_visitors", "visitor_id"))
    gaps = {session: number for session, number in events.items() if session.startswith("gap ")}
    assert set(gaps.values()) >= {1, 2}
    moments = list(zip(values("int_events", "visitor_key"), values("int_events", "event_ms"), strict=True))
    assert len(moments) - len(set(moments)) > 300
    assert sum(value > 0 for value in values("session_funnels", "refunded_value")) > 50
    assert len({session is None for session in values("int_refunds", "session_key")}) == 2
    (facts,) = (
        dict(zip(relation.columns, row, strict=True))
        for relation in [pair.found.analyses["baseline_counts"]]
        for row in relation.rows
        if row[relation.columns.index("metric")] == "exact_duplicates"
    )
    assert facts["amount"] > 200


@pytest.mark.parametrize("pair", ["nasty"], indirect=True)
def test_the_experiment_is_as_nasty_as_it_means_to_be(pair: Pair) -> None:
    relation = pair.found.relations["stg_treatment_assignments"]
    rows = {
        row["visitor_id"]: row for row in (dict(zip(relation.columns, cells, strict=True)) for cells in relation.rows)
    }
    assert set(IDS) <= set(rows)
    assert len(rows) > ORDINARY_VISITORS
    assert {rows[visitor]["assignment_count"] for visitor in IDS} == {1, 2, 3}
    given: dict[str, set[tuple[int, int]]] = {}
    for visitor, ms, treatment, *_ in nasty_world().assignments:
        given.setdefault(visitor, set()).add((ms, treatment))
    conflicts = {visitor for visitor, row in rows.items() if row["has_conflict"]}
    assert {row["stratum"] for row in rows.values()} == {"Süd", "süd"}
    assert {row["propensity"] for row in rows.values()} == {0.5}
    assert conflicts == {visitor for visitor, pairs in given.items() if len({arm for _, arm in pairs}) > 1}
    assert {rows[visitor]["treatment"] for visitor in conflicts} == {0, 1}
    assert sum(len({ms for ms, _ in given[visitor]}) == 1 for visitor in conflicts) > 3
    loads = pair.found.relations["stg_loads"]
    (load,) = (row for row in loads.rows if row[loads.columns.index("raw_table")] == "raw_treatment_assignments")
    assert load[loads.columns.index("rejected_count")] == len(BAD_ASSIGNMENTS)
    scores = pair.found.published["uplift_scores"]
    assert {row[scores.columns.index("is_simulated")] for row in scores.rows} == {0}, "trained on a simulation instead"
    assert {row[scores.columns.index("treatment")] for row in scores.rows} == {0, 1, None}


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("ab", "AB"),
        ("x", "x\u00a0"),
        ("é", "e\u0301"),
        ("", None),
        (None, 0),
        (1, Decimal(1)),
        (1, 1.0),
        ("1", 1),
        (Decimal("1.00"), Decimal("1.01")),
        (0.1, 0.1000000002),
        (0.0, 1e-300),
        (datetime(2015, 6, 1), datetime(2015, 6, 1, microsecond=1000)),
        (datetime(2015, 6, 1), datetime(2015, 6, 1).date()),
    ],
)
def test_what_is_not_the_same_is_found(expected: Any, found: Any) -> None:
    sides = [Relation(["id", "cell"], [(1, "a"), (2, cell)]) for cell in (expected, found)]
    assert differences(*sides, key=["id"]) == [f"cell in row (2,): expected {expected!r}, found {found!r}"]
    assert differences(sides[0], sides[0], key=["id"]) == []
    assert differences(sides[0], Relation(["id", "cell"], sides[0].rows[:1]), key=None) == ["row (2,) is missing"]
