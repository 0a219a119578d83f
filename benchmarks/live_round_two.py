"""How many visitors of round one does a learnt policy need? Simulated shops, from one round's log to the next's money.

    nice -n 19 python -m benchmarks.live_round_two --folder FOLDER --picture docs/images/live_round_two.png

Shoppers react to what the live service shows them, and the effects are known (`benchmarks/reacting_shop.py`). In round
one chance decides for all. Its log is written without a service, with the arms that the service's own policy draws. For
the first visitors of the first shop a service makes it too, and both logs must be equal. Then it goes the whole way:
`ingest load`, `dbt run`, `ml.train`, and the service decides for a second round by what was learnt. Profit is by the
true effects, of all who came. The same shops train on each size. FOLDER gets what was found; what it holds is not done
again.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import reacting_shop
from benchmarks.live_loops import DAYS, Place, keep, kept, lines_of, mean_of, scratch, serving
from benchmarks.live_loops_picture import draw_sizes
from benchmarks.reacting_shop import MINUTE_MS, Segment, Shopper, shoppers, visit
from live.decide import HOLD, SHOW, Decision, Ledger, Policy
from live.event import parse_events
from live.log import ASSIGNMENTS, EVENTS, Log
from live.settings import LiveSettings
from ml.config import Config
from warehouse.open import open_warehouse

# Visitors of round two of whom chance decides for so many.
EXPLORE = 0.2
POLICIES = ("learnt", "everybody", "buyers, their share", "buyers, same share", "buyers, best share")
CHOSEN_SQL = "select share_percent from funnelift.roi_projection where strategy = 'response' and is_chosen = 1"
POINT = "engaged"
KINDS = ("view", "addtocart", "transaction")
# So many visitors of the first shop visit a service too.
COMPARED = 300


def write_round(crowd: Sequence[Shopper], settings: LiveSettings) -> None:
    """Write the log that a service without models would have: what shoppers did, and the arms that chance gave them.

    Parameters
    ----------
    crowd : sequence of Shopper
        In the order of their coming.
    settings : LiveSettings
        Those of the service, which explores with everybody.
    """
    ledger, log = Ledger(), Log(settings.log)
    policy, events, arms = Policy(settings, ledger), list[dict[str, Any]](), list[dict[str, Any]]()
    for shopper in crowd:
        decided_ms = shopper.comes_ms + 2 * MINUTE_MS
        asked = Decision("", POINT, shopper.visitor, decided_ms, HOLD, "")
        told, arm = policy.decide(asked, acts_here=True, is_bot=False, is_late=False, costs={None: 0.0})
        assert arm is not None, "a shopper comes once"
        arms.append(arm.line())
        sent = [*shopper.first_events, *([shopper.purchase] if shopper.buys(is_shown=told.action == SHOW) else [])]
        events += [event.line() for event in parse_events(json.dumps(sent).encode(), KINDS)]
    log.open()
    log.write({EVENTS: events, ASSIGNMENTS: arms})
    log.close()


def logs_are_equal(place: Place, crowd: Sequence[Shopper], salt: str) -> bool:
    """Let shoppers visit a service, and compare its log with the one that is written."""
    own, logs = {shopper.visitor for shopper in crowd}, list[Path]()
    for name in ("served", "written"):
        logs.append(place.folder / name)
        settings = LiveSettings(logs[-1], salt=salt, explore_share=1.0, refresh_seconds=3600)
        if name == "written":
            write_round(crowd, settings)
            continue
        with serving(place.config, settings) as send:
            visit(crowd, send)
    return all(lines_of(own, logs[0], kind) == lines_of(own, logs[1], kind) != [] for kind in (EVENTS, ASSIGNMENTS))


def gain(segment: Segment, config: Config) -> float:
    """What showing the offer to a visitor of a segment is expected to earn."""
    policy = config.policy
    return policy.revenue_per_conversion * segment.effect - policy.cost * segment.buys_if_shown


def second_wave(number: int, first: int, second: int) -> list[Shopper]:
    """Draw the second wave, as large as the first because its past is, and thin it to about `second` shoppers."""
    return shoppers(1000 + number, first, DAYS, wave=1)[:: max(first // second, 1)]


def second_round(place: Place, number: int, following: Sequence[Shopper], salt: str) -> dict[str, Any]:
    """Serve a second wave of a shop by what was learnt, and say what each policy earns there."""
    config = place.config
    settings = LiveSettings(place.folder / "log2", salt=salt, explore_share=EXPLORE, refresh_seconds=3600)
    with serving(config, settings) as send:
        decisions = visit(following, send)
    return {"shop": number, **_of_policies(config, following, decisions)}


def _of_policies(config: Config, crowd: Sequence[Shopper], decisions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Profit per visitor of the second wave, by the true effects, under each policy."""
    gains = np.array([gain(shopper.segment, config) for shopper in crowd])
    told = [decisions[shopper.visitor] for shopper in crowd]
    treats = np.array([row["treat"] == 1 for row in told])
    order = np.argsort([-row["probability"] for row in told], kind="stable")
    with open_warehouse(config) as warehouse:
        rows = warehouse.query(CHOSEN_SQL)
    share = rows[0]["share_percent"] if rows else 0
    sums = np.concatenate([[0.0], np.cumsum(gains[order])]) / len(crowd)
    each = [sums[round(len(crowd) * percent / 100)] for percent in range(101)]
    values = (gains[treats].sum() / len(crowd), gains.mean(), each[share], sums[int(treats.sum())], max(each))
    return {
        "profit": dict(zip(POLICIES, map(float, values), strict=True)),
        "profit of an oracle": float(np.maximum(gains, 0).mean()),
        "share shown by the policy": float(treats.mean()),
        "shown": sum(row["action"] == "show" for row in told) / len(told),
    }


def one_shop(place: Place, number: int, first: int, second: int) -> dict[str, Any]:
    """Round one by chance, load, build and train; then a second round by what was learnt."""
    place.restore()
    salt = f"policy {number}"
    settings = LiveSettings(place.folder / "log", salt=salt, explore_share=1.0)
    write_round(shoppers(1000 + number, first, DAYS), settings)
    # Who comes in round two was there meanwhile.
    reacting_shop.write_history(settings.log / "raw", first, DAYS, wave=1)
    place.build(settings.log / "raw", tested=False)
    place.run("ml.train", "--config", str(place.settings))
    return {"first": first, **second_round(place, number, second_wave(number, first, second), salt)}


def differences(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over shops of what the learnt policy earns, and earns more than others, for each size of round one."""
    told = []
    for first in sorted({shop["first"] for shop in found}):
        shops = [shop for shop in found if shop["first"] == first]
        profits = {name: np.array([shop["profit"][name] for shop in shops]) for name in POLICIES}
        row: dict[str, Any] = {"first": first, "shops": len(shops), "learnt": mean_of(profits["learnt"])}
        row |= {f"less {name}": mean_of(profits["learnt"] - profits[name]) for name in POLICIES[1:]}
        row |= {f"profit of {name}": mean_of(profits[name]) for name in POLICIES[1:]}
        told.append(row | {"profit of an oracle": mean_of(np.array([shop["profit of an oracle"] for shop in shops]))})
    return told


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="What a policy learnt from so many visitors earns in round two.")
    parser.add_argument("--folder", type=Path, required=True, help="gets what was found, and the scratch meanwhile")
    parser.add_argument("--first", type=int, nargs="+", default=[2000, 8000, 24000], help="sizes of round one")
    parser.add_argument("--shops", type=int, default=8, help="shops that learn from each size (default: 8)")
    parser.add_argument("--second", type=int, default=600, help="visitors of round two (default: 600)")
    parser.add_argument("--picture", type=Path, help="file that gets the picture")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "round_two.jsonl"
    found = kept(path)
    for first in options.first:
        done = sum(shop["first"] == first for shop in found)
        if done >= options.shops:
            continue
        with scratch(options.folder) as place:
            reacting_shop.write_history(place.folder / "past", first, DAYS)
            place.build(place.folder / "past", tested=False)
            place.prepare()
            if not found:
                place.restore()
                print("equal to a service's log:", logs_are_equal(place, shoppers(1000, COMPARED, DAYS), "policy 0"))
            for number in range(done, options.shops):
                found += keep(path, [one_shop(place, number, first, options.second)])
    told = differences(found)
    print(json.dumps(told, indent=2))
    if options.picture:
        draw_sizes(options.picture, told)


if __name__ == "__main__":
    main()
