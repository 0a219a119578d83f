"""The live service over HTTP, on a trained synthetic shop as it was a while ago."""

import argparse
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from ingest import load
from live.log import ASSIGNMENTS, DECISIONS, EVENTS
from live.models import Models
from live.service import KEPT
from live_past import Past
from live_server import Client, lines, process, running
from synthetic_shop import SyntheticShop

# Many kills with SOAK_LIVE=50, many bodies with FUZZ_ROUNDS=20.
KILLS = int(os.environ.get("SOAK_LIVE", "2"))
BODIES = 150 * int(os.environ.get("FUZZ_ROUNDS", "1"))
OF_CLOCK = ("is_mature",)


@pytest.fixture(scope="module")
def past(synthetic_shop: SyntheticShop, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return Past(synthetic_shop, tmp_path_factory.mktemp("past"))


@pytest.fixture(scope="module")
def open_service(past: Past, models: Path) -> Iterator[tuple[Any, Client]]:
    with running(past.config, past.settings("shared", models)) as found:
        yield found


def view(visitor: str, **more: Any) -> dict[str, Any]:
    return {"visitorid": visitor, "event": "view", "itemid": "some", **more}


def test_a_replay_gives_the_marts_features_and_the_published_probabilities(past: Past, models: Path) -> None:
    settings = past.settings("replay", models)
    decided: dict[tuple[str, str], dict[str, Any]] = {}
    with running(past.config, settings) as (service, client):
        for start in range(0, len(past.events), 50):
            status, answer = client.send(past.events[start : start + 50])
            assert (status, answer["degraded"]) == (200, [])
            decided |= {(row["session_id"], row["decision_point"]): row for row in answer["decisions"]}
        known = service.known
        assert known is not None
        rows = known.shop.features({event["visitorid"] for event in past.events}, past.events[0]["timestamp"])
    full, first = past.published("session_features"), past.events[0]["timestamp"]
    recent = [row for row in rows.to_pylist() if row["decided_ms"] >= first]
    for row in recent:
        theirs = full[(row["session_id"], row["decision_point"])]
        assert {name: row[name] for name in row if name not in OF_CLOCK} == {
            name: theirs[name] for name in row if name not in OF_CLOCK
        }
    predictions, scores = past.published("conversion_predictions"), past.published("uplift_scores")
    wanted = {key for key, row in full.items() if row["decided_ms"] >= first}
    assert len(wanted) > 300
    assert decided.keys() == wanted
    for key, row in decided.items():
        assert row["probability"] == pytest.approx(predictions[key]["probability"], abs=1e-9)
        assert row["risk_band"] == predictions[key]["risk_band"]
        assert "no model" not in row["degraded"]
        if key in scores:
            assert row["uplift"] == pytest.approx(scores[key]["uplift"], abs=1e-9)
            assert row["is_simulated"]
        assert row["is_synthetic"]


def test_the_log_loads_as_it_is_and_a_second_time_changes_nothing(
    past: Past, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = past.settings("loaded", models)
    with running(past.config, settings) as (_, client):
        assert client.send(past.events[:60])[0] == 200
        assert client.send([view("own", event_id="e1", price=12.5, quantity=2, categoryid="c")])[0] == 200
        refund = {**view("own", event_id="e2", price=3), "event": "refund", "transactionid": "o1"}
        told = client.send([refund, refund])[1]
        assert (told["accepted"], told["repeated"], told["decisions"]) == (1, 1, [])
    assert not list(settings.log.glob("*/*.open"))
    monkeypatch.setenv("FUNNELIFT_TARGET", "duckdb")
    monkeypatch.setenv("FUNNELIFT_DUCKDB_PATH", str(tmp_path / "w.duckdb"))
    parser = argparse.ArgumentParser()
    load.add_parser(parser.add_subparsers())
    command = ["load", "--raw", str(settings.log / "raw"), "--mapping", "live/mapping.yml"]
    for _ in range(2):
        options = parser.parse_args(command)
        assert options.run(options) == 0
    with duckdb.connect(tmp_path / "w.duckdb") as connection:
        counts = connection.execute(
            "select (select count(*) from funnelift_raw.raw_events), (select count(*) from funnelift_raw.raw_rejects), "
            "(select count(*) from funnelift_raw.raw_treatment_assignments where propensity is null), "
            "(select count(*) from funnelift_raw.raw_treatment_assignments), "
            "(select price * quantity from funnelift_raw.raw_events where event_id = 'e1')"
        ).fetchone()
    assert counts is not None
    assert counts[:3] == (62, 0, 0)
    assert counts[3] == len(lines(settings.log, ASSIGNMENTS)) > 0
    assert counts[4] == 25


def test_a_repeated_event_changes_nothing_and_another_one_with_its_id_is_refused(
    open_service: tuple[Any, Client],
) -> None:
    client = open_service[1]
    first = client.send(view("twice", event_id="once", timestamp=1_700_000_000_000))
    again = client.send(view("twice", event_id="once", timestamp=1_700_000_000_000))
    assert (first[1]["accepted"], again[1]["repeated"]) == (1, 1)
    assert again[1]["decisions"] == first[1]["decisions"] != []
    assert again[1]["accepted"] == 0
    status, answer = client.send(view("twice", event_id="once", timestamp=1_700_000_000_001))
    assert (status, answer["detail"][0]["loc"]) == (409, ["body", 0, "event_id"])
    unnamed = view("unnamed", timestamp=1_700_000_000_000)
    assert client.send([unnamed, unnamed])[1]["accepted"] == 1


def test_a_repeat_without_a_timestamp_is_the_event_that_arrived_before(past: Past, models: Path) -> None:
    settings, body = past.settings("untimed", models), view("untimed", event_id="u1", price=5)
    with running(past.config, settings) as (_, client):
        first = client.send(body)[1]
        again = client.send(body)[1]
        assert client.send(body | {"itemid": "another"})[0] == 409
    # A restart knows the event by its log.
    with running(past.config, settings) as (_, client):
        later = client.send(body)[1]
        assert client.send(body | {"price": 6})[0] == 409
    assert first["accepted"] == 1
    for answer in (again, later):
        assert (answer["accepted"], answer["repeated"]) == (0, 1)
        assert answer["decisions"] == first["decisions"] != []
    assert len(lines(settings.log, EVENTS)) == 1


@pytest.mark.parametrize(
    ("body", "status", "place"),
    [
        (b"", 400, ["body"]),
        (b"{", 400, ["body"]),
        (b"\xff\xfe", 400, ["body"]),
        (b"[" * 100_000, 400, ["body"]),
        (b"[]", 422, ["body"]),
        (b"7", 422, ["body", 0]),
        (b'{"visitorid": NaN}', 400, ["body"]),
        ({"visitorid": "v", "event": "view"}, 422, ["body", 0, "itemid"]),
        (view(""), 422, ["body", 0, "visitorid"]),
        (view("v" * 129), 422, ["body", 0, "visitorid"]),
        (view("a\x00b"), 422, ["body", 0, "visitorid"]),
        (view("a\nb"), 422, ["body", 0, "visitorid"]),
        (b'{"visitorid": "\\ud800", "event": "view", "itemid": "i"}', 422, ["body", 0, "visitorid"]),
        (view(7), 422, ["body", 0, "visitorid"]),  # type: ignore[arg-type]
        (view("v", event="purchase"), 422, ["body", 0, "event"]),
        (view("v", price=-1), 422, ["body", 0, "price"]),
        (view("v", price="1e400"), 422, ["body", 0, "price"]),
        (b'{"visitorid": "v", "event": "view", "itemid": "i", "price": 1e400}', 422, ["body", 0, "price"]),
        (view("v", price=1.23456), 422, ["body", 0, "price"]),
        (view("v", quantity=0), 422, ["body", 0, "quantity"]),
        (view("v", timestamp=1.5), 422, ["body", 0, "timestamp"]),
        (view("v", timestamp=10**30), 422, ["body", 0, "timestamp"]),
        (view("v", timestamp=1_500_000_000), 422, ["body", 0, "timestamp"]),
        (view("v", timestamp=4_000_000_000_000), 422, ["body", 0, "timestamp"]),
        (view("v", color="red"), 422, ["body", 0, "color"]),
        ([view("v"), view("")], 422, ["body", 1, "visitorid"]),
        ([view("v")] * 1001, 422, ["body"]),
        (b" " * 1_000_001, 413, ["body"]),
    ],
)
def test_what_is_no_event_is_refused_by_its_field_and_nothing_of_it_is_kept(
    open_service: tuple[Any, Client], body: Any, status: int, place: list[str | int]
) -> None:
    service, client = open_service
    before = len(lines(service.settings.log, EVENTS))
    found, answer = client.send(body)
    assert found == status, answer
    assert answer["detail"][0]["loc"][: len(place)] == place
    assert len(lines(service.settings.log, EVENTS)) == before


def test_hostile_bodies_never_make_a_fault_of_the_server(open_service: tuple[Any, Client]) -> None:
    client, random = open_service[1], Random(3)
    values = [None, "", "v", "x" * 200, "\x00", "é", "🛒", "' or 1=1", -1, 0, 1e308, 10**40, True, [], {}, [[]], "NaN"]
    names = ["visitorid", "event", "itemid", "timestamp", "price", "quantity", "event_id", "transactionid", "__x__"]
    for _ in range(BODIES):
        event: dict[str, Any] = view("fuzzed")
        for name in random.sample(names, random.randint(1, 4)):
            event[name] = random.choice(values)
        content = json.dumps(random.choice([event, [event], {"events": [event]}, [event, view("b")]])).encode()
        if random.random() < 0.3:
            place = random.randrange(len(content))
            content = content[:place] + bytes([random.randrange(256)]) + content[place + 1 :]
        status, _ = client.send(content)
        assert status in {200, 400, 409, 422}, content
    assert client.ask("GET", "/decisions/" + "%00%ff" * 50)[0] == 200
    assert client.ask("GET", "/healthz") == (200, {"alive": True})


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"Content-Length: -1", b"", 400),
        (b"Content-Length: 2000000", b"", 413),
        (b"Transfer-Encoding: chunked", b"f4241\r\n" + b" " * 1_000_001 + b"\r\n0\r\n\r\n", 413),
        (b"Transfer-Encoding: chunked", b"zz\r\n", 400),
        (b"X: " + b"x" * 100_000, b"", 400),
    ],
)  # fmt: skip
def test_requests_that_lie_about_their_length_are_refused(
    open_service: tuple[Any, Client], head: bytes, body: bytes, status: int
) -> None:
    client = open_service[1]
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        connection.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + body)
        assert int(connection.recv(4096).split(b" ")[1]) == status
    assert client.send(view("after"))[0] == 200


def test_a_token_is_asked_for_and_told_nowhere(past: Past, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = replace(past.settings("token", models), token="sesame-4711")
    with running(past.config, settings) as (_, client):
        assert client.send(view("v"))[0] == 200
        for headers in ({"Authorization": ""}, {"Authorization": "Bearer sesame"}, {"Authorization": "sesame-4711x"}):
            status, answer = client.send(view("v"), headers)
            assert (status, answer["detail"][0]["loc"]) == (401, ["header", "authorization"])
        assert client.ask("GET", "/decisions/v", headers={"Authorization": "Bearer no"})[0] == 401
        told = [str(client.ask("GET", path)[1]) for path in ("/metrics", "/readyz", "/openapi.json")]
    assert "sesame" not in caplog.text + "".join(told)
    assert all("sesame" not in path.read_text() for path in settings.log.rglob("*.jsonl"))


def test_the_kill_switch_and_dry_run_show_nothing_and_assign_nobody(past: Past, models: Path) -> None:
    settings = replace(past.settings("still", models), explore_share=1.0)
    with running(past.config, settings) as (_, client):
        settings.stop_file.touch()
        held = client.send([view(f"s{number}") for number in range(20)])[1]["decisions"]
        settings.stop_file.unlink()
        lively = client.send([view(f"t{number}") for number in range(40)])[1]["decisions"]
    assert {(row["action"], row["why"]) for row in held} == {("hold", "kill switch")}
    assert {row["action"] for row in lively if row["arm"]} == {"show", "hold"}
    arms = {row["visitorid"]: row["treatment"] for row in lines(settings.log, ASSIGNMENTS)}
    assert arms == {row["visitor_id"]: int(row["action"] == "show") for row in lively}
    dry = replace(past.settings("dry", models), explore_share=1.0, dry_run=True)
    with running(past.config, dry) as (_, client):
        rows = client.send([view(f"t{number}") for number in range(40)])[1]["decisions"]
    assert {row["action"] for row in rows} == {"hold"}
    assert {row["visitor_id"]: int(row["arm"] == "treatment") for row in rows} == arms
    assert lines(dry.log, ASSIGNMENTS) == []
    assert len(lines(dry.log, DECISIONS)) == 40


def test_a_late_event_is_decided_but_not_acted_on(past: Past, models: Path) -> None:
    settings = replace(past.settings("late", models), explore_share=1.0)
    now = 1_700_000_000_000
    with running(past.config, settings) as (_, client):
        assert client.send(view("slow", timestamp=now))[1]["decisions"][0]["why"].startswith("arm")
        late = client.send(view("slow", timestamp=now - 86_400_000))[1]["decisions"][0]
    assert (late["action"], late["why"], late["arm"]) == ("hold", "late event", None)


def test_a_fault_in_a_batch_is_answered_and_the_next_one_works(
    past: Past, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(past.config, past.settings("faulty", models)) as (service, client):
        with monkeypatch.context() as broken:
            broken.setattr(service, "_judge", None)
            assert client.send(view("v"))[0] == 503
        with monkeypatch.context() as broken:
            broken.setattr(service.known.shop, "features", None)
            status, answer = client.send(view("v", event_id="kept"))
            assert (status, answer["accepted"], answer["degraded"]) == (200, 1, ["features failed"])
        with monkeypatch.context() as broken:
            broken.setattr(type(service.known.models), "predictions", None)
            answer = client.send(view("x"))[1]
            assert answer["degraded"] == ["model failed"]
            assert answer["decisions"][0]["probability"] is None
        assert client.send(view("w"))[1]["degraded"] == []
    assert "kept" in {line.get("event_id") for line in lines(service.settings.log, EVENTS)}


def test_models_are_tried_before_anybody_waits_and_may_fail_then(
    past: Past, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, predictions = list[int](), Models.predictions

    def failing_first(self: Models, rows: Any) -> Any:
        tried.append(rows.num_rows)
        return predictions(self, rows if len(tried) > 1 else None)

    monkeypatch.setattr(Models, "predictions", failing_first)
    with running(past.config, past.settings("tried", models)) as (_, client):
        assert len(tried) == 1
        assert tried[0] > 0
        assert client.send(view("v"))[1]["degraded"] == []


def test_what_a_build_has_taken_in_is_let_go(synthetic_shop: SyntheticShop, models: Path, tmp_path: Path) -> None:
    past = Past(synthetic_shop, tmp_path)
    with running(past.config, past.settings("taken", models)) as (service, client):
        first = client.send(past.events[:60])[1]["decisions"]
        assert client.send(view("own", timestamp=past.events[0]["timestamp"], event_id="e1"))[0] == 200
        assert client.ask("GET", "/readyz")[1]["events_not_built"] == 61
        shutil.copy(synthetic_shop.trained, past.warehouse)
        (past.results / "models" / "new").mkdir()
        before, deadline = service.known, time.monotonic() + 60
        while service.known is before and time.monotonic() < deadline:
            time.sleep(0.1)
            # What was read is taken over with the next request.
            assert client.send(past.events[0])[1]["repeated"] == 1
        assert client.ask("GET", "/readyz")[1]["events_not_built"] == 1
        repeated = client.send(past.events[:60])[1]
        assert (repeated["accepted"], repeated["decisions"]) == (0, first)
        # Two days later in the shop's time they are strangers, and the warehouse is who counts them once.
        later = past.events[-1]["timestamp"] + 3 * 86_400_000
        assert client.send(view("late", timestamp=later, event_id="e2"))[0] == 200
        (past.results / "models" / "new").rmdir()
        after = service.known
        while service.known is after and time.monotonic() < deadline + 60:
            time.sleep(0.1)
            client.send(view("late", timestamp=later, event_id="e2"))
        assert client.ask("GET", "/readyz")[1]["events_not_built"] == 2
        assert client.send(view("own", timestamp=past.events[0]["timestamp"], event_id="e1"))[1]["repeated"] == 1
        assert client.ask("GET", f"/decisions/{first[0]['visitor_id']}")[1]["decisions"] == []
        assert client.send(past.events[:60])[1]["accepted"] == 60


def test_without_a_model_decisions_are_marked_and_nothing_fails(past: Past, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "empty" / KEPT)
    config = past.config.model_copy(update={"results": tmp_path / "empty"})
    with running(config, past.settings("bare", models)) as (_, client):
        status, answer = client.send(view("v"))
        ready = client.ask("GET", "/readyz")[1]
    assert status == 200
    assert {"no model", "no uplift model", "unknown item"} <= set(answer["decisions"][0]["degraded"])
    assert answer["decisions"][0]["probability"] is None
    assert len(ready["missing"]) == 2


def test_kill_9_under_load_loses_no_answered_event_and_changes_no_arm(past: Past, models: Path) -> None:
    settings = past.settings("killed", models)
    answered: dict[str, list[Any]] = {}
    options = ["--log", str(settings.log), "--config", str(past.shop.folder / "quick.json"), "--explore", "1"]
    for round_ in range(KILLS):
        with process(past.environment, options) as (started, client):
            for key, decisions in answered.items():
                visitor = key.split(":")[0]
                known = client.ask("GET", f"/decisions/{visitor}")[1]["decisions"]
                assert [(row["session_id"], row["arm"]) for row in known] == decisions
            senders = [
                threading.Thread(target=send_until_dead, args=(client, f"r{round_}s{number}", answered))
                for number in range(4)
            ]
            for sender in senders:
                sender.start()
            deadline, before = time.monotonic() + 60, len(answered)
            while len(answered) < before + 20 and time.monotonic() < deadline:
                time.sleep(0.01)
            started.send_signal(signal.SIGKILL)
            started.wait()
            for sender in senders:
                sender.join()
        on_disk = {line["event_id"] for line in lines(settings.log, EVENTS)}
        assert answered.keys() <= on_disk
    assert len(answered) > 10
    print(f"{KILLS} kills, {len(answered)} answered events, all on the disk")


def send_until_dead(client: Client, name: str, answered: dict[str, list[Any]]) -> None:
    for number in range(10_000):
        key = f"{name}n{number}:{number}"
        try:
            status, answer = client.send(view(key.split(":")[0], event_id=key))
        except (OSError, ValueError, HTTPException):
            return
        if status == 200:
            answered[key] = [(row["session_id"], row["arm"]) for row in answer["decisions"]]


def test_models_are_swapped_under_load_without_a_failed_request(past: Past, models: Path) -> None:
    statuses, ends = list[int](), threading.Event()

    def send(client: Client) -> None:
        number = 0
        while not ends.is_set():
            statuses.append(client.send(view(f"w{number}"))[0])
            number += 1

    with running(past.config, past.settings("swapped", models)) as (service, client):
        before, sender = service.known, threading.Thread(target=send, args=(client,))
        sender.start()
        run = past.results / "models"
        (run / "new").mkdir()
        deadline = time.monotonic() + 60
        while service.known is before and time.monotonic() < deadline:
            time.sleep(0.1)
        swapped = service.known is not before
        # A model whose file was changed is not used.
        name = next(path for path in run.rglob("calibrator.json"))
        content = name.read_bytes()
        name.write_bytes(content + b" ")
        (run / "new").rmdir()
        after = service.known
        while service.known is after and time.monotonic() < deadline + 60:
            time.sleep(0.1)
        missing = service.readiness()[1]["missing"]
        name.write_bytes(content)
        ends.set()
        sender.join()
    assert swapped
    assert any("model hash" in text for text in missing)
    assert set(statuses) == {200}
