"""Several offers: chance gives each its part, the decision names one, and they come back as one experiment."""

import json
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks.reacting_shop import DAY_MS, Shopper, shoppers, visit
from compiled import create_raw_tables
from live.decide import Decision, Ledger, Policy
from live.event import parse_events
from live.http import DECISION, EVENTS_BODY
from live.log import ASSIGNMENTS, DECISIONS
from live.service import KEPT
from live.settings import LiveSettings
from live_loop import SETTINGS, build, load_log, sender
from live_server import lines, running
from ml import train
from ml.cli import Progress
from ml.report.live import read_live
from training import Place
from warehouse.open import open_warehouse

OFFERS = ("coupon", "call")
COSTS = {"coupon": {"cost": 1.0}, "call": {"cost": 0, "contact_cost": 2.5}}
NOW_MS = 1_700_000_000_000


def settle(policy: Policy, visitor: str, costs: dict[str | None, float], **more: Any) -> Decision:
    said = Decision("s", "engaged", visitor, NOW_MS, "hold", "", **more)
    return policy.decide(said, acts_here=True, is_bot=False, is_late=False, costs=costs)[0]


@pytest.mark.parametrize(
    ("offers", "more", "chances"),
    [
        ((None,), {}, {"treatment": 0.2, "control": 0.8}),
        ((None,), {"treat": 1}, {"treatment": 0.8, "control": 0.2}),
        (("coupon",), {"treat": 1, "suggested": "coupon"}, {"coupon": 0.8, "control": 0.2}),
        (OFFERS, {"treat": 0, "suggested": "call"}, {"coupon": 0.4 / 3, "call": 0.4 / 3, "control": 0.6 + 0.4 / 3}),
        (OFFERS, {"treat": 1, "suggested": "call"}, {"coupon": 0.4 / 3, "call": 0.6 + 0.4 / 3, "control": 0.4 / 3}),
        (OFFERS, {"treat": 1, "suggested": "call", "is_simulated": True},
         {"coupon": 0.4 / 3, "call": 0.4 / 3, "control": 0.6 + 0.4 / 3}),
    ],
)  # fmt: skip
def test_each_arm_is_drawn_as_often_as_its_chance_says(
    tmp_path: Path, offers: tuple[str | None, ...], more: dict[str, Any], chances: dict[str, float]
) -> None:
    policy = Policy(LiveSettings(tmp_path, explore_share=0.4), Ledger())
    told = [settle(policy, f"v{number}", dict.fromkeys(offers, 1.0), **more) for number in range(6000)]
    counts = Counter(decision.arm for decision in told)
    assert counts.keys() == chances.keys()
    for arm, chance in chances.items():
        assert counts[arm] / len(told) == pytest.approx(chance, abs=4 * (chance * (1 - chance) / len(told)) ** 0.5)
    for decision in told:
        assert (decision.action == "show") == (decision.arm != "control")
        assert decision.offer == (None if decision.arm in ("control", "treatment") else decision.arm)
        own = "treatment" if offers == (None,) else "coupon" if len(offers) == 1 else decision.arm
        assert decision.propensity == pytest.approx(chances[str(own)])


def test_the_dearest_offer_has_to_fit_the_budget(tmp_path: Path) -> None:
    policy = Policy(LiveSettings(tmp_path, explore_share=1.0, daily_budget=10.0), Ledger())
    assert settle(policy, "v", {"coupon": 0.1, "call": 0.2}).why != "budget"
    assert settle(policy, "v", {"coupon": 0.1, "call": 10.1}).why == "budget"


def test_an_offer_that_has_ended_is_not_shown(tmp_path: Path) -> None:
    ledger = Ledger()
    policy = Policy(LiveSettings(tmp_path, explore_share=1.0), ledger)
    said = Decision("s", "engaged", "v1", NOW_MS, "hold", "", treat=1, suggested="coupon")
    options = {"acts_here": True, "is_bot": False, "is_late": False}
    for number in range(50):
        each = replace(said, visitor_id=f"v{number}")
        _, arm = policy.decide(each, costs=dict.fromkeys(OFFERS, 1.0), **options)
        assert arm is not None
        ledger.arms[arm.visitor_id] = arm
        told, none = policy.decide(each, costs={"coupon": 1.0}, **options)
        assert none is None
        assert (told.action, told.arm) == ("show" if arm.offer == "coupon" else "hold", arm.name)
        assert (told.why == "offer has ended") == (arm.offer == "call")


def test_the_examples_of_the_interface_are_whole_and_taken() -> None:
    assert Decision(**DECISION).line() == DECISION
    examples = EVENTS_BODY["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        assert parse_events(json.dumps(example["value"]).encode(), ["view", "addtocart", "transaction"])


@dataclass(frozen=True)
class Loop:
    """Two rounds: chance alone, then the policy that was learnt of it."""

    place: Place
    crowd: list[Shopper]
    first: dict[str, dict[str, Any]]
    second: dict[str, dict[str, Any]]
    again: dict[str, dict[str, Any]]
    log: Path


@pytest.fixture(scope="module")
def loop(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    folder = tmp_path_factory.mktemp("offers")
    place, settings = Place(folder), LiveSettings(folder / "log", explore_share=1.0, refresh_seconds=3600)
    experiment = SETTINGS["experiment"] | {"treated": OFFERS}
    (folder / "quick.json").write_text(json.dumps(SETTINGS | {"experiment": experiment, "policy": {"costs": COSTS}}))
    with duckdb.connect(folder / "warehouse.duckdb") as connection:
        create_raw_tables(connection)
    build(place, "run")
    shutil.copytree(models, folder / "results" / KEPT)
    crowd = shoppers(6, 1200, days=4)
    with running(place.config(), settings) as (_, client):
        first = visit(crowd, sender(client))
        # A day later, so that all sessions before have ended.
        late = replace(crowd[-1], visitor="late", comes_ms=crowd[-1].comes_ms + DAY_MS)
        sender(client)([late.event("view", 0)])
    load_log(place, settings.log)
    build(place, "run")
    train.train(place.config(), Progress())
    settings = replace(settings, explore_share=0.3)
    with running(place.config(), settings) as (_, client):
        second = visit(shoppers(6, 100, days=1, wave=4), sender(client))
    with running(place.config(), settings) as (_, client):
        again = {key: client.ask("GET", f"/decisions/{key}")[1]["decisions"][0] for key in second}
    return Loop(place, crowd, first, second, again, settings.log)


@pytest.mark.end_to_end
def test_offers_come_back_as_one_experiment(loop: Loop) -> None:
    assert {row["arm"] for row in loop.first.values()} == {*OFFERS, "control"}
    rows = {row["visitor_id"]: row for row in loop.place.rows("from funnelift.stg_treatment_assignments")}
    assert rows.keys() == loop.first.keys()
    for visitor, row in rows.items():
        decision = loop.first[visitor]
        assert (row["treatment"], row["offer"]) == (int(decision["action"] == "show"), decision["offer"])
        assert (row["stratum"], row["propensity"]) == ("policy holds, 1 by lot", None)
        assert decision["propensity"] == pytest.approx(1 / 3)
    (run,) = loop.place.rows("from funnelift.uplift_runs")
    assert run["source"] == f"experiment of {len(loop.crowd):,} visitors (stg_treatment_assignments)"
    assert not run["is_simulated"]
    bought: dict[str, list[bool]] = {arm: [] for arm in (*OFFERS, "control")}
    for shopper in loop.crowd:
        arm = loop.first[shopper.visitor]["arm"]
        bought[arm].append(shopper.buys(is_shown=arm != "control"))
    rates = {arm: sum(each) / len(each) for arm, each in bought.items()}
    for offer in OFFERS:
        (found,) = loop.place.rows(
            f"from funnelift.uplift_metrics where metric = 'average_effect_all_slices' and learner = '{offer}'"
        )
        assert found["value"] == pytest.approx(rates[offer] - rates["control"], abs=1e-12)


@pytest.mark.end_to_end
def test_the_report_shows_the_effect_of_each_offer_that_the_training_measured(loop: Loop) -> None:
    with open_warehouse(loop.place.config()) as warehouse:
        live = read_live(warehouse, loop.place.config())
    assert live is not None
    for offer in OFFERS:
        last = [look for look in live["looks"] if look["offer"] == offer][-1]
        (found,) = loop.place.rows(
            f"from funnelift.uplift_metrics where metric = 'average_effect_sequence' and learner = '{offer}'"
        )
        assert [last["effect"], last["lower"], last["upper"]] == pytest.approx(
            [found["value"], found["ci_lower"], found["ci_upper"]], abs=1e-12
        )
        assert sum(day[offer] for day in live["days"]) == sum(row["arm"] == offer for row in loop.first.values())


@pytest.mark.end_to_end
def test_what_was_learnt_decides_and_chance_keeps_its_part(loop: Loop) -> None:
    told = {key: row for key, row in loop.second.items() if row["arm"] is not None}
    assert len(told) == len(loop.second)
    written = {row["visitorid"]: row for row in lines(loop.log, ASSIGNMENTS)}
    paid = {row["visitor_id"]: row["cost"] for row in lines(loop.log, DECISIONS) if row["decision_point"] == "engaged"}
    for visitor, row in told.items():
        assert row["suggested"] in OFFERS
        made = f" {row['suggested']}" if row["treat"] else ""
        stratum = f"policy {'shows' if made else 'holds'}{made}, 0.3 by lot"
        line = written[visitor]
        assert (line["stratum"], line["offer"], line["propensity"]) == (stratum, row["offer"], None)
        is_likely = (row["offer"] or "") == made.strip()
        assert line["chance"] == row["propensity"] == pytest.approx(0.8 if is_likely else 0.1)
        if row["offer"] == "call":
            assert paid[visitor] == 2.5
        elif row["offer"] == "coupon":
            assert 0 < paid[visitor] < 1
    assert {row["arm"] for row in told.values()} > {"control"}
    assert loop.again == loop.second
