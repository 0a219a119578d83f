"""Names and numbers as people read them."""

import math
from typing import Literal

from ml.policy.ab_test import SimulatedTest
from ml.reports.facts import Difference, UpliftFacts
from ml.uplift.metrics import UpliftMetric
from ml.uplift.names import CHOSEN

UNDEFINED = "not defined"
RULES = {
    "treat none": "treat nobody",
    "treat all": "treat everybody",
    "random at the same share": "at random, same share",
    "random": "at random",
    "response": "most likely buyers first",
    "uplift": "highest uplift first",
}
QUADRANTS = {
    "persuadable": "the intervention is expected to bring more than it costs",
    "sure thing": "buys without it at the baseline rate or more; it adds too little",
    "lost cause": "buys less often than the baseline rate, and it adds too little",
    "sleeping dog": "buys less often when treated: leave alone",
}


def money(*values: float) -> str:
    """Return an amount without a currency, alone or with its interval: "12,345", "0.75", "1,234 [-56 to 2,345]"."""
    whole = any(abs(value) >= 100 for value in values) or all(float(value).is_integer() for value in values)
    digits = 0 if whole else 2
    # Adding 0 turns a rounded -0 into 0.
    texts = [f"{round(value, digits) + 0:,.{digits}f}" for value in values]
    return texts[0] if len(texts) == 1 else f"{texts[0]} [{texts[1]} to {texts[2]}]"


def significant(value: float, sign: Literal["", "+"] = "") -> str:
    """Return a figure with at least four significant digits and never an exponent: "0.06232", "+14,996"."""
    if not math.isfinite(value):
        return UNDEFINED
    digits = 4 if value == 0 else min(max(3 - math.floor(math.log10(abs(value))), 0), 12)
    return f"{round(value, digits) + 0:{sign},.{digits}f}"


def percent(share: float, digits: int = 0) -> str:
    """Return a share as "20 %"."""
    return f"{round(100 * share, digits) + 0:,.{digits}f} %"


def metric_text(entry: UpliftMetric | Difference, digits: int = 4) -> str:
    """Return a metric with its interval, as "0.0524 [0.0310 to 0.0738]"."""
    value, lower, upper = (
        f"{round(number, digits) + 0:.{digits}f}" for number in (entry.value, entry.ci_lower, entry.ci_upper)
    )
    return f"{value} [{lower} to {upper}]"


def points_text(entry: UpliftMetric, digits: int = 2) -> str:
    """Return a difference in rates with its interval in percentage points."""
    return f"{metric_text(Difference.of(entry).in_points(), digits)} percentage points"


def ranking_difference(facts: UpliftFacts, learner: str, metric: str = "qini") -> Difference | None:
    """Return how much more a learner's metric is than the chosen one's; None where that was not measured."""
    if entry := facts.metric(learner, metric, CHOSEN):
        return Difference.of(entry)
    if entry := facts.metric(CHOSEN, metric, learner):
        return Difference(-entry.value, -entry.ci_upper, -entry.ci_lower)
    return None


def significant_shares(tests: list[SimulatedTest]) -> tuple[float, float]:
    """Return the share of runs, at least one, with a significant gain, and with a significant loss."""
    gains = sum(test.is_significant and test.measured_lift > 0 for test in tests)
    return gains / len(tests), sum(test.is_significant for test in tests) / len(tests) - gains / len(tests)
