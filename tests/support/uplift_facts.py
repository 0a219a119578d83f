"""Plausible facts for the recommendations and the uplift figures: a shop that could have been, in several cases."""

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ml.config import load_config
from ml.policy.ab_test import SimulatedTest
from ml.policy.gains import CHALLENGERS, Gain
from ml.policy.planner import Plan
from ml.policy.projection import Projection
from ml.policy.sensitivity import Sensitivity
from ml.policy.values import STRATEGIES, PolicyValue
from ml.reports.facts import UpliftFacts
from ml.reports.funnel import FunnelFacts
from ml.reports.wording import QUADRANTS
from ml.uplift.choice import UpliftCandidate
from ml.uplift.deciles import UpliftDecile
from ml.uplift.metrics import UpliftMetric

Z = 1.959964
LEARNERS = {"t_learner": 1.0, "s_learner": 0.93, "x_learner": 0.96, "dr_learner": 0.9, "stack": 0.95, "mean": 0.97,
            "response": 0.6, "random": 0.0}  # fmt: skip
COMPARISON = [
    UpliftCandidate("response", 1, 0.4, 0.3, 1.1, 0.35, False, "worse than the best by more than one standard error"),
    UpliftCandidate("t_learner", 3, 1.4, 0.4, 0.1, 0.2, True, "the simplest within one standard error of the best"),
    UpliftCandidate("dr_learner", 4, 1.5, 0.4, 0.0, 0.0, False, "not better by more than one standard error"),
]


@dataclass(frozen=True)
class Case:
    """A shop: its test rows, the uplift of its deciles from the best on, its share chosen, its placebo."""

    rows: int
    uplift: tuple[float, ...]
    chosen: int
    base: float = 0.03


CASES = {
    "win": Case(94_210, (0.042, 0.018, 0.006, 0.002, 0.001, 0.0, 0.0, 0.0, -0.001, -0.006), 20),
    "unsure": Case(9_400, (0.008, 0.006, 0.003, 0.002, 0.001, 0.001, 0.0, 0.0, -0.001, -0.004), 10),
    "nothing": Case(61_877, (0.001, 0.0005, 0.0, 0.0, 0.0, -0.0005, -0.001, -0.001, -0.002, -0.004), 0),
    "loses": Case(250_000, (-0.006, -0.006, -0.006, -0.006, -0.006, -0.006, -0.006, -0.006, -0.006, -0.009), 30),
    "tiny": Case(412, (0.09, 0.04, 0.02, 0.01, 0.0, 0.0, 0.0, -0.01, -0.02, -0.03), 30, 0.08),
}


def build(case: str = "win", simulated: bool = True, synthetic: bool = False, **changes: Any) -> UpliftFacts:
    """Build the facts of a case; `changes` replaces fields, `settings` sections of the configuration."""
    shop, rng = CASES[case], np.random.default_rng(5)
    config = load_config(None, changes.pop("settings", None), environment={})
    uplift = np.array(shop.uplift)
    control = shop.base * np.linspace(1.9, 0.4, 10)
    half = shop.rows // 2
    facts: dict[str, Any] = {
        "config": config,
        "run_id": "20261125T101500-7f3a",
        "model_version": "uplift-2026-11-25",
        "finished_at": datetime(2026, 11, 25, 10, 15, tzinfo=UTC),
        "source": "simulation (salt funnelift)" if simulated else "experiment of 182,402 visitors",
        "eligible": "sessions at their third event (decision point engaged)",
        "is_simulated": simulated,
        "is_synthetic": synthetic,
        "first_at": "2015-08-20 00:00",
        "last_at": "2015-09-18 02:59",
        "metrics": _metrics(shop, half, rng),
        "deciles": _deciles(shop, control, uplift, simulated, rng),
        "policy": _policy(shop, control, uplift, config.policy.sensitivity),
        "plans": _plans(shop, control, uplift),
        "tests": _tests(shop, control, uplift, rng),
        "tested_share": shop.chosen or 10,
        "quadrant_counts": dict(zip(QUADRANTS, _split(shop.rows, (0.18, 0.09, 0.66, 0.07)), strict=True)),
        "placebo_qini": _metric("t_learner", "qini", 0.0011, _width(shop), half),
        "pehe": 0.0081 if simulated else None,
        "pehe_constant": 0.0154 if simulated else None,
        "mismatch_p": 0.412,
        "balance_worst": ("item_price_ratio", 0.011, 0.083),
        "funnel": FunnelFacts(
            step="view",
            next_step="addtocart",
            entered=1_744_790,
            dropped_off=1_707_719,
            dropoff_rate=0.978753,
            revenue_lost=2_481_903.5,
            sessions=1_761_675,
            first_at="2015-05-03 03:00",
            last_at="2015-09-18 02:59",
        ),
        "curves": _curves(uplift, rng, shop.rows),
        "comparison": COMPARISON,
    }
    return UpliftFacts(**(facts | changes))


def _width(shop: Case) -> float:
    return 2.6 / math.sqrt(shop.rows * shop.base)


def _metric(learner: str, metric: str, value: float, width: float, half: int, versus: str = "") -> Any:
    return UpliftMetric(learner, versus, metric, value, value - width, value + width, 2 * half, half, half)


def _metrics(shop: Case, half: int, rng: np.random.Generator) -> list[UpliftMetric]:
    spread, width = shop.uplift[0] - shop.uplift[-1], _width(shop)
    metrics = []
    for learner, quality in LEARNERS.items():
        own = 4 * spread * quality + (rng.normal(0, width / 8) if quality else 0)
        metrics.append(_metric(learner, "qini", own, width if quality else 0.0, half))
        if learner == "t_learner":
            metrics.append(replace(metrics[-1], learner="chosen"))
        else:
            difference = 4 * spread * (quality - 1)
            metrics.append(_metric(learner, "qini", difference, width / 3, half, "chosen"))
    average_width = Z * 2 * math.sqrt(shop.base / shop.rows)
    metrics.append(_metric("all", "average_effect", float(np.mean(shop.uplift)), average_width, half))
    metrics.append(_metric("chosen", "calibration_slope", 0.94, 0.94 * width / spread / 4, half))
    error = average_width * 0.8
    metrics.append(_metric("chosen", "calibration_error", error, error / 3, half))
    metrics.append(_metric("chosen", "calibration_error_floor", error * 0.9, error / 3, half))
    metrics.append(_metric("chosen", "uplift_at_10", shop.uplift[0], 4 * average_width, half))
    return metrics


def _deciles(shop: Case, control: Any, uplift: Any, simulated: bool, rng: np.random.Generator) -> list[UpliftDecile]:
    n = shop.rows // 20
    found = []
    for position, (rate, effect) in enumerate(zip(control, uplift, strict=True)):
        treated_rate = max(rate + effect, 0.0)
        treated, untreated = rng.binomial(n, treated_rate), rng.binomial(n, rate)
        observed = (treated - untreated) / n
        error = Z * math.sqrt((rate + treated_rate + 2 / n) / n)
        found.append(
            UpliftDecile(
                "chosen",
                position + 1,
                n,
                n,
                int(treated),
                int(untreated),
                effect * 1.06,
                observed,
                observed - error,
                observed + error,
                effect if simulated else None,
            )
        )
    return found


def _sums(strategy: str, control: Any, uplift: Any, share: int) -> tuple[float, float]:
    """Incremental conversions and redemptions per session when the top share is treated."""
    shares = np.linspace(0, 1, 11)
    added = np.interp(share / 100, shares, np.r_[0, np.cumsum(uplift / 10)])
    bought = np.interp(share / 100, shares, np.r_[0, np.cumsum(control / 10)])
    if strategy == "uplift":
        return float(added), float(bought + added)
    flat = share / 100 * float(np.mean(uplift))
    if strategy == "random":
        return flat, share / 100 * float(np.mean(control)) + flat
    return (float(added) + flat) / 2, float(bought) * (1.2 - share / 500) + (float(added) + flat) / 2


def _policy(shop: Case, control: Any, uplift: Any, multiples: list[float]) -> PolicyValue:
    eligible, projections = shop.rows * 1.02, []
    chosen = {"uplift": shop.chosen, "response": shop.chosen, "random": 100 if np.mean(uplift) > 0.004 else 0}
    for strategy in STRATEGIES:
        for share in range(1, 101):
            added, redeemed = (eligible * value for value in _sums(strategy, control, uplift, share))
            se = 1.02 * math.sqrt(2 * shop.rows * share / 100 * (shop.base * 1.4 + 0.2 / shop.rows))
            cost, revenue = 5 * redeemed, 50 * added
            profit, profit_se = revenue - cost, 48 * se
            n = shop.rows * share // 100
            projections.append(
                Projection(
                    strategy=strategy,
                    share_percent=share,
                    is_chosen=share == chosen[strategy],
                    n_rows=shop.rows,
                    n_targeted=n,
                    n_targeted_treatment=n // 2,
                    n_targeted_control=n - n // 2,
                    eligible_sessions=eligible,
                    targeted_sessions=eligible * share / 100,
                    incremental_conversions=added,
                    incremental_conversions_ci_lower=added - Z * se,
                    incremental_conversions_ci_upper=added + Z * se,
                    incremental_conversions_se=se,
                    redemptions=redeemed,
                    redemptions_se=se / 1.4,
                    conversions_covariance=0.5 * se**2,
                    incremental_revenue=revenue,
                    incremental_margin=revenue,
                    cost=cost,
                    profit=profit,
                    profit_ci_lower=profit - Z * profit_se,
                    profit_ci_upper=profit + Z * profit_se,
                    profit_ipw=profit * 1.03,
                    profit_ipw_ci_lower=profit * 1.03 - 1.1 * Z * profit_se,
                    profit_ipw_ci_upper=profit * 1.03 + 1.1 * Z * profit_se,
                    roi=profit / cost,
                    roi_ci_lower=(profit - Z * profit_se) / cost,
                    roi_ci_upper=(profit + Z * profit_se) / cost,
                )
            )
    by_key = {(p.strategy, p.share_percent): p for p in projections}
    own = by_key.get(("uplift", shop.chosen))
    paying = [share for share in range(1, 101) if by_key["uplift", share].profit >= 0]
    sensitivity = []
    for cost in multiples:
        for revenue in multiples:
            share = 0 if revenue < cost / 2 or own is None else min(100, round(shop.chosen * revenue / cost))
            gain = 0.0 if own is None or not share else own.incremental_revenue * revenue - own.cost * cost
            width = 0.0 if own is None or not share else (own.profit_ci_upper - own.profit) * revenue
            sensitivity.append(Sensitivity(5 * cost, 50 * revenue, share, gain, gain - width, gain + width))
    return PolicyValue(
        projections=projections,
        chosen=chosen,
        break_even_share=max(paying, default=0),
        break_even_cost=own.incremental_revenue / own.redemptions if own else None,
        sensitivity=sensitivity,
        gains=_gains(by_key, chosen),
    )


def _gains(by_key: dict[tuple[str, int], Projection], chosen: dict[str, int]) -> list[Gain]:
    own = by_key.get(("uplift", chosen["uplift"]))
    challengers = {
        "response": by_key.get(("response", chosen["response"])),
        "random": by_key.get(("random", chosen["random"])),
        "random at the same share": by_key.get(("random", chosen["uplift"])),
        "treat all": by_key["random", 100],
        "treat none": None,
    }
    earned, width = (own.profit, own.profit_ci_upper - own.profit) if own else (0.0, 0.0)
    gains = []
    for name in CHALLENGERS:
        other = challengers[name]
        theirs, spread = (other.profit, other.profit_ci_upper - other.profit) if other else (0.0, 0.0)
        error = 0.7 * math.hypot(width, spread) if name != "treat none" else width
        gains.append(Gain("uplift", name, earned - theirs, earned - theirs - error, earned - theirs + error))
    return gains


def _plans(shop: Case, control: Any, uplift: Any) -> list[Plan]:
    plans = []
    for share in sorted({5, 10, 20, 30, 50, 100, shop.chosen or 10}):
        added, redeemed = _sums("uplift", control, uplift, share)
        lift, rate = added / share * 100, (redeemed - added) / share * 100
        per_day = shop.rows / 29
        arm = math.ceil(7.849 * (2 * rate + lift) / lift**2) if lift > 0.0001 else None
        smallest = [2.8 * math.sqrt(4 * rate / (per_day * share / 100 * days)) for days in (14, 28)]
        plans.append(
            Plan(
                share_percent=share,
                sessions_per_day=per_day,
                control_rate=rate,
                expected_lift=lift,
                sessions_per_arm=arm,
                days_needed=None if arm is None else 2 * arm / (per_day * share / 100),
                days_short=14,
                smallest_lift_short=smallest[0],
                days_long=28,
                smallest_lift_long=smallest[1],
            )
        )
    return plans


def _tests(shop: Case, control: Any, uplift: Any, rng: np.random.Generator) -> list[SimulatedTest]:
    share = shop.chosen or 10
    plan = next(plan for plan in _plans(shop, control, uplift) if plan.share_percent == share)
    # Without an expected lift, what the traffic of the longer time allows.
    n = plan.sessions_per_arm or round(plan.sessions_per_day * share / 200 * plan.days_long)
    found = []
    for replicate in range(1000):
        treated = int(rng.binomial(n, max(plan.control_rate + plan.expected_lift, 0)))
        untreated = int(rng.binomial(n, plan.control_rate))
        lift = (treated - untreated) / n
        error = math.sqrt(max(treated + untreated, 1)) / n
        p = math.erfc(abs(lift) / error / math.sqrt(2))
        lower, upper = lift - Z * error, lift + Z * error
        found.append(SimulatedTest(replicate, n, n, untreated, treated, lift, lower, upper, p, p < 0.05))
    return found


def _curves(uplift: Any, rng: np.random.Generator, rows: int) -> dict[str, tuple[Any, Any]]:
    x = np.linspace(0, 1, 1001)
    ideal = np.interp(x, np.linspace(0, 1, 11), np.r_[0, np.cumsum(uplift / 10)]) * 1000
    line = x * ideal[-1]
    curves = {}
    for learner, quality in LEARNERS.items():
        bridge = np.cumsum(rng.normal(0, 1, len(x)))
        noise = (bridge - x * bridge[-1]) * 8 / math.sqrt(rows) if quality else 0.0
        y = line + quality * (ideal - line) + noise
        curves[learner] = (x, y - y[0] * (1 - x))
    return curves


def _split(total: int, shares: tuple[float, ...]) -> list[int]:
    counts = [int(total * share) for share in shares]
    return [*counts[:-1], total - sum(counts[:-1])]
