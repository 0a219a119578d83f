"""The loop closes: what the service showed by chance comes back as a real experiment, from its log as it is."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import duckdb
import pytest

from benchmarks.live_round_two import second_wave
from benchmarks.reacting_shop import AVERAGE_EFFECT, DAY_MS, LIVE_MS, Shopper, history, shoppers, visit
from compiled import create_raw_tables
from live.log import ASSIGNMENTS, DECISIONS, EVENTS
from live.service import KEPT
from live.settings import LiveSettings
from live_loop import SETTINGS, build, load_log, sender
from live_server import lines, running
from ml import train
from ml.cli import Progress
from ml.report.live import read_live
from training import Place
from warehouse.open import open_warehouse

# A build, a training, and a service in between.
pytestmark = pytest.mark.end_to_end

# Half of the visitors had the first chance of being shown the offer; then the service was started with the other one.
CHANCES = {"first": 0.5, "then": 0.25}
HALF = 600


@dataclass(frozen=True)
class Loop:
    """What happened: who came, what was decided about them at the third event, and what training made of it."""

    place: Place
    crowd: list[Shopper]
    decided: dict[str, dict[str, Any]]
    log: Path


@pytest.fixture(scope="module")
def loop(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    folder = tmp_path_factory.mktemp("loop")
    place = Place(folder)
    (folder / "quick.json").write_text(json.dumps(SETTINGS))
    with duckdb.connect(folder / "warehouse.duckdb") as connection:
        create_raw_tables(connection)
    build(place, "run")
    shutil.copytree(models, folder / "results" / KEPT)
    crowd = shoppers(5, 1200, days=4)
    settings = LiveSettings(folder / "log", refresh_seconds=3600)
    halves = {"first": crowd[:HALF], "then": crowd[HALF:]}
    decided: dict[str, dict[str, Any]] = {}
    for name, chance in CHANCES.items():
        with running(place.config(), replace(settings, explore_share=2 * chance)) as (_, client):
            decided |= visit(halves[name], sender(client))
    with running(place.config(), settings) as (_, client):
        settings.stop_file.touch()
        # A day later, so that all sessions before have ended.
        away = [replace(shopper, visitor=f"late-{number}", comes_ms=crowd[-1].comes_ms + DAY_MS + number)
                for number, shopper in enumerate(crowd[-40:])]  # fmt: skip
        decided |= visit(away, sender(client))
        settings.stop_file.unlink()
    load_log(place, settings.log)
    build(place, "build")
    train.train(place.config(), Progress())
    return Loop(place, crowd, decided, settings.log)


def test_the_log_is_in_the_warehouse_line_by_line(loop: Loop) -> None:
    (counts,) = loop.place.rows(
        "select (select count(*) from funnelift_raw.raw_events) as events, "
        "(select count(*) from funnelift_raw.raw_treatment_assignments) as arms, "
        "(select count(*) from funnelift_raw.raw_rejects) as rejects"
    )
    assert counts == {"events": len(lines(loop.log, EVENTS)), "arms": len(loop.crowd), "rejects": 0}
    assert len(lines(loop.log, ASSIGNMENTS)) == len(loop.crowd)


def test_an_arm_comes_back_only_where_something_could_be_shown(loop: Loop) -> None:
    """Shown to the treated alone; nobody has an arm to whom the kill switch forbade it."""
    arms = {row["visitor_id"]: row for row in loop.place.rows("from funnelift.stg_treatment_assignments")}
    assert arms.keys() == {shopper.visitor for shopper in loop.crowd}
    chances = dict.fromkeys((shopper.visitor for shopper in loop.crowd[:HALF]), CHANCES["first"])
    for visitor, row in arms.items():
        decision = loop.decided[visitor]
        assert row["treatment"] == (decision["action"] == "show")
        assert row["propensity"] == chances.get(visitor, CHANCES["then"]) == decision["propensity"]
        assert (row["assigned_ms"], row["stratum"]) == (decision["decided_ms"], "policy holds")
    shown = {row["visitor_id"] for row in lines(loop.log, DECISIONS) if row["action"] == "show"}
    assert shown == {visitor for visitor, row in arms.items() if row["treatment"] == 1}
    assert {row["why"] for row in loop.decided.values() if row["visitor_id"] not in arms} == {"kill switch"}


def test_the_training_measures_the_services_own_experiment_by_its_chances(loop: Loop) -> None:
    (run,) = loop.place.rows("from funnelift.uplift_runs")
    assert run["source"] == f"experiment of {len(loop.crowd):,} visitors (stg_treatment_assignments)"
    assert not run["is_simulated"]
    assert run["sample_ratio_p"] > 0.001
    (found,) = loop.place.rows("from funnelift.uplift_metrics where metric = 'average_effect_all_slices'")
    means = []
    for arm in (1, 0):
        own = [shopper for shopper in loop.crowd if (loop.decided[shopper.visitor]["arm"] == "treatment") == arm]
        chances = [loop.decided[shopper.visitor]["propensity"] for shopper in own]
        weights = [1 / (chance if arm else 1 - chance) for chance in chances]
        bought = [weight for weight, shopper in zip(weights, own, strict=True) if shopper.buys(is_shown=arm == 1)]
        means.append(sum(bought) / sum(weights))
    assert found["value"] == pytest.approx(means[0] - means[1], abs=1e-12)
    assert found["n_rows"] == len(loop.crowd)
    assert found["ci_lower"] < AVERAGE_EFFECT < found["ci_upper"]


def test_the_report_shows_the_effect_that_the_training_measured(loop: Loop) -> None:
    with open_warehouse(loop.place.config()) as warehouse:
        live = read_live(warehouse, loop.place.config())
    assert live is not None
    last = live["looks"][-1]
    (found,) = loop.place.rows("from funnelift.uplift_metrics where metric = 'average_effect_sequence'")
    assert [last["effect"], last["lower"], last["upper"]] == pytest.approx(
        [found["value"], found["ci_lower"], found["ci_upper"]], abs=1e-12
    )
    shown = sum(row["action"] == "show" for row in loop.decided.values())
    assert sum(day["Shown"] for day in live["days"]) == shown
    assert sum(arm["visitors"] for arm in live["arms"]) == len(loop.crowd) == last["n"]


def test_a_ranking_learns_from_rows_of_one_chance(loop: Loop) -> None:
    """Of the second half a third of the others and all treated stay, so that treatment tells no half from the other."""
    rows = loop.place.rows("select visitor_id, treatment, is_simulated from funnelift.uplift_scores")
    chance = {row["visitor_id"]: loop.decided[row["visitor_id"]]["propensity"] for row in rows}
    treated = sum(row["arm"] == "treatment" and row["propensity"] == 0.25 for row in loop.decided.values())
    second = [row for row in rows if chance[row["visitor_id"]] == 0.25 and row["treatment"] is not None]
    assert sum(row["treatment"] for row in second) == treated
    assert treated == pytest.approx(len(second) / 2, abs=2.6 * len(second) ** 0.5 / 2)
    assert not any(row["is_simulated"] for row in rows)
    (run,) = loop.place.rows("select warnings_json from funnelift.uplift_runs")
    assert f"{len(loop.crowd[HALF:]) - len(second):,} rows left out of rankings and money" in run["warnings_json"]


def test_visitors_of_both_rounds_have_the_past_of_their_segment_at_the_same_distance() -> None:
    rounds = shoppers(1000, 2000, 6), second_wave(0, 2000, 2000)
    ago: list[list[float]] = [[], []]
    for wave, crowd in enumerate(rounds):
        past: dict[str, list[dict[str, Any]]] = {}
        for event in history(2000, 6, wave):
            past.setdefault(event["visitorid"], []).append(event)
        for shopper in crowd:
            events = past.get(shopper.visitor, [])
            assert [event["event"] for event in events] == list(shopper.segment.past), shopper
            ago[wave] += [(shopper.comes_ms - event["timestamp"]) / DAY_MS for event in events[:1]]
    assert {shopper.visitor for shopper in rounds[0]}.isdisjoint(shopper.visitor for shopper in rounds[1])
    assert max(event["timestamp"] for event in history(2000, 6)) < LIVE_MS
    assert min(map(min, ago)) > 6
    assert max(map(max, ago)) < 14
    # In the first half of a round as in the second, and in both rounds; shoppers come when chance wants.
    halves = [mean(half) for days in ago for half in (days[: len(days) // 2], days[len(days) // 2 :])]
    assert halves == pytest.approx([10] * 4, abs=0.75)
