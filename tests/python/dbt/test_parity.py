"""The same raw files give the same rows, figures and predictions on every engine, compared cell by cell.

Two shops are loaded, built and trained on as users do it, each command a process of its own: on DuckDB, on the tests'
MySQL or MariaDB server, and on a second server where FUNNELIFT_TEST_SECOND_MYSQL_* names one.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nasty_shop import (
    BAD_ASSIGNMENTS,
    IDS,
    ORDINARY_VISITORS,
    ROBOT,
    ROBOT_EVENTS,
    UTC_OFFSET_MINUTES,
    nasty_world,
    write_shop,
)
from parity import TOLERANCE, Relation, Warehouse, differences, on_duckdb, on_server
from paths import ROOT
from servers import SECOND, DatabaseServer, named_server
from warehouse.contract import read_project

CONTRACTS = read_project()
# Load ids are drawn anew for each file, so a load is known by what it loaded.
KEYS = {
    contract.name: contract.grain
    for contract in CONTRACTS.of_layer("seeds", "staging", "build", "intermediate", "marts")
}
KEYS |= {"stg_loads": ("raw_table", "line_count")}
# They are part of what reads them and no tables.
del KEYS["stg_events"], KEYS["stg_refunds"], KEYS["stg_item_properties"]
BI_KEYS = {contract.name: contract.grain for contract in CONTRACTS.of_layer("bi")}
# One training: one run, whose id is one of what follows.
PUBLISHED = {contract.name: contract.grain for contract in CONTRACTS.of_layer("predictions")}
PUBLISHED |= {"ml_runs": (), "uplift_runs": ()}
PREDICTION_TOLERANCE = 1e-6
# Quick, and content with the few buyers that a small shop has in each slice.
TRAINING = {
    "split": {"train_share": 0.6, "calibration_share": 0.2, "min_positives": 5},
    "models": {"catboost": {"max_trees": 60}, "xgboost": {"max_trees": 40}},
    "evaluation": {"bootstrap_resamples": 30},
    "explanation": {"plot_rows": 200},
    "experiment": {"split": {"min_positives": 5}, "min_conversions_per_arm": 1},
    "uplift": {"max_trees": 40, "bootstrap_resamples": 30},
    "policy": {"bootstrap_resamples": 30},
    "planner": {"simulations": 50},
}
SHOPS = ("sample", "nasty")


@dataclass(frozen=True)
class Built:
    """All that came of a shop's raw files on one engine."""

    relations: dict[str, Relation]
    bi: dict[str, Relation]
    analyses: dict[str, Relation]
    published: dict[str, Relation]


@dataclass(frozen=True)
class Pair:
    """A shop on DuckDB and on a server."""

    server: str
    expected: Built
    found: Built


@dataclass(frozen=True)
class RawFiles:
    """What to load, with which settings to build, and whether to train."""

    loads: Sequence[Sequence[str]]
    variables: Mapping[str, Any]
    is_trained_on: bool

    def build(self, warehouse: Warehouse, folder: Path) -> Built:
        """Run the commands as a user does, then read everything they made."""

        def run(*command: str) -> None:
            outcome = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert outcome.returncode == 0, f"on {warehouse.name}: {' '.join(command)}\n{outcome.stdout[-5000:]}"

        environment = {key: value for key, value in os.environ.items() if not key.startswith(("FUNNELIFT_", "DBT_"))}
        environment |= {
            **warehouse.environment,
            "FUNNELIFT_RESULTS": str(folder / "results"),
            "DBT_TARGET_PATH": str(folder / "target"),
            "DBT_LOG_PATH": str(folder / "logs"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        for load in self.loads:
            run(sys.executable, "-m", "ingest", "load", *load)
        dbt, variables = str(Path(sys.executable).with_name("dbt")), ("--vars", json.dumps(self.variables))
        run(dbt, "build", *variables)
        run(dbt, "compile", "--select", "resource_type:analysis", *variables)
        if self.is_trained_on:
            settings = folder / "training.json"
            settings.write_text(json.dumps(TRAINING))
            run(sys.executable, "-m", "ml.train", "--config", str(settings))
        nodes = json.loads((folder / "target" / "manifest.json").read_text())["nodes"].values()
        made = [
            node["alias"]
            for node in nodes
            if node["resource_type"] in ("model", "seed") and node["config"]["materialized"] != "ephemeral"
        ]
        analyses = (folder / "target" / "compiled" / "funnelift" / "analyses").glob("*.sql")
        read = {table: warehouse.query(f"select * from funnelift.{table}") for table in made}
        published = {table: relation for table, relation in read.items() if table in PUBLISHED}
        return Built(
            relations={table: read[table] for table in read if not table.startswith("bi_") and table not in PUBLISHED},
            bi={table: relation for table, relation in read.items() if table.startswith("bi_")},
            analyses={path.stem: warehouse.query(path.read_text()) for path in sorted(analyses)},
            published=published if self.is_trained_on else {},
        )


def assert_same(
    pair: Pair,
    kind: str,
    keys: Mapping[str, Sequence[str] | None],
    tolerance: float = TOLERANCE,
) -> None:
    """All relations of a kind are there on both sides and equal; else say where they first differ, and how often."""
    expected, found = getattr(pair.expected, kind), getattr(pair.found, kind)
    assert set(expected) == set(found) == set(keys), "a relation without a contract"
    told = []
    for table, key in keys.items():
        if faults := differences(expected[table], found[table], key, tolerance):
            told.append(f"{table}: {len(faults)} differences, first: {faults[0]}")
    assert not told, "\n".join([f"expected as on DuckDB, found on {pair.server}:", *told])


@pytest.fixture(scope="module")
def raw_files(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RawFiles]:
    nasty = write_shop(tmp_path_factory.mktemp("nasty"), nasty_world())
    return {
        "sample": RawFiles([["--raw", str(shared_data / "retailrocket_sample")]], {}, False),
        "nasty": RawFiles(nasty, {"shop_utc_offset_minutes": UTC_OFFSET_MINUTES}, True),
    }


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
