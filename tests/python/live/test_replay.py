"""Whole shops, sent to the live service by HTTP: what it says is what the mart and the training say."""

import json
import os
import shutil
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import ValidationError

from live.event import EVENTS
from live.replay import EVENTS_SQL
from live.service import KEPT
from live.settings import LiveSettings
from live_server import running
from ml.config import load_config
from parity_shops import TRAINING, RawFiles, demo, nasty, sample
from synthetic_shop import SyntheticShop

# `make soak` also sends the nasty shop and the demo.
SHOPS = os.environ.get("REPLAYED_SHOPS", "sample").split(",")
# Of the sample's rows 23 convert: enough to fit, too few to simulate an experiment.
FEW = TRAINING | {"split": {"train_share": 0.5, "calibration_share": 0.3, "min_positives": 2}}
PER_REQUEST = 50
KEY = ("session_id", "decision_point")
# A value for the rest of the visitor's life, and what the clock of the whole shop says.
OF_CLOCK = {"is_mature"}
TABLES = ("session_features", "conversion_predictions", "uplift_scores")

Row = dict[str, Any]
Rows = dict[tuple[str, str], Row]


def by_key(rows: Sequence[Row]) -> Rows:
    return {(row["session_id"], row["decision_point"]): row for row in rows}


def make_shop(folder: Path, raw: RawFiles, *training: str, settings: dict[str, Any]) -> SyntheticShop:
    """Load, build and train on a shop as a user does."""
    shop = SyntheticShop(folder)
    (folder / "quick.json").write_text(json.dumps(settings))
    for load in raw.loads:
        shop.run("ingest", "load", *load)
    shop.run("dbt.cli.main", "--quiet", "build", "--vars", json.dumps(raw.variables))
    shop.run("ml.train", "--config", str(folder / "quick.json"), *training)
    return shop


def take_out(warehouse: Path) -> list[Row]:
    """Take every visitor out whose events the service takes; returns these events in the order of time."""
    with duckdb.connect(warehouse) as connection:
        found = connection.execute(EVENTS_SQL, [-1, 2**62]).to_arrow_table().to_pylist()
        events = [{name: value for name, value in row.items() if value is not None} for row in found]
        left = {event["visitorid"] for event in events if not is_taken(event)}
        connection.execute("create temporary table stays (visitor_id varchar)")
        connection.executemany("insert into stays values (?)", [[visitor] for visitor in ["", *left]])
        for table in ("int_event_items", "int_events"):
            connection.execute(
                f"delete from funnelift.{table} where visitor_key not in "
                "(select visitor_key from funnelift.int_visitors inner join stays using (visitor_id))"
            )
    return [event for event in events if event["visitorid"] not in left]


def is_taken(event: Row) -> bool:
    try:
        EVENTS.validate_python([event])
    except ValidationError:
        return False
    return True


def requests(events: Sequence[Row]) -> list[list[Row]]:
    """Bodies of requests; events of one moment stay together, for a decision is about all of its moment."""
    bodies: list[list[Row]] = [[]]
    for _, moment in groupby(events, lambda event: event["timestamp"]):
        if len(bodies[-1]) >= PER_REQUEST:
            bodies.append([])
        amounts = ("price", "quantity")
        bodies[-1] += [
            {name: str(value) if name in amounts else value for name, value in row.items()} for row in moment
        ]
    return bodies


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", SHOPS)
def test_a_whole_shop_has_the_marts_features_and_the_published_probabilities(
    name: str, request: pytest.FixtureRequest, models: Path, tmp_path: Path
) -> None:
    raw = {
        "sample": lambda: sample(request.getfixturevalue("shared_data")),
        "nasty": lambda: nasty(tmp_path / "files", is_trained_on=True),
        "demo": lambda: demo(tmp_path / "files"),
    }[name]()
    few = name == "sample"
    shop = make_shop(tmp_path, raw, *(["--only", "conversion"] if few else []), settings=FEW if few else TRAINING)
    with duckdb.connect(shop.trained, read_only=True) as connection:
        features, predictions, scores = (
            by_key(connection.execute(f"from funnelift.{table}").to_arrow_table().to_pylist()) for table in TABLES
        )
    events = take_out(shop.trained)
    places = {
        "duckdb_path": shop.trained, "results": tmp_path / "results", "manifest": shop.target / "manifest.json"
    }  # fmt: skip
    config = load_config(tmp_path / "quick.json", places, environment={})
    if not raw.variables:
        shutil.copytree(models, config.results / KEPT, dirs_exist_ok=True)
    decided: list[Row] = []
    with running(config, LiveSettings(tmp_path / "log", refresh_seconds=3600)) as (service, client):
        for body in requests(events):
            status, answer = client.send(body)
            assert status == 200, answer
            assert (answer["repeated"], answer["degraded"]) == (0, [])
            decided += answer["decisions"]
        assert service.known is not None
        found = service.known.shop.features({event["visitorid"] for event in events}, 0).to_pylist()
    visitors = {event["visitorid"] for event in events}
    wanted = {key for key, row in features.items() if row["visitor_id"] in visitors}
    print(
        f"{name}: {len(events):,} events of {len(visitors):,} visitors, {len(found):,} rows of {len(found[0])} columns "
        f"(others: {len(features) - len(wanted):,}), {len(decided):,} decisions, {len(scores):,} uplifts"
    )
    # Who shares an order with them is worked out beside them.
    own = [row for row in found if row["visitor_id"] in visitors]
    assert by_key(own).keys() == by_key(decided).keys() == wanted
    assert [row for row in found if unlike(row, features[row["session_id"], row["decision_point"]])] == []
    for row in decided:
        key = (row["session_id"], row["decision_point"])
        assert row["probability"] == pytest.approx(predictions[key]["probability"], abs=1e-9)
        assert row["risk_band"] == predictions[key]["risk_band"]
        if key in scores:
            assert row["uplift"] == pytest.approx(scores[key]["uplift"], abs=1e-9)


def unlike(row: Row, theirs: Row) -> list[str]:
    return [column for column in row if column not in OF_CLOCK and repr(row[column]) != repr(theirs[column])]
