"""What is an alarm and what is chance, on shops that change and shops that do not."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from drift_worlds import Shop
from ml.config import Config, load_config
from ml.drift.entries import ALARM, NOT_COUNTED, STABLE, TOO_FEW, WATCH, WINDOW, FeatureDrift, PerformanceDrift
from ml.drift.verdict import heaviest
from ml.monitor import Drift
from warehouse.errors import FunneliftError

# So low that chance alone stands between a draw and an alarm.
NO_TOLERANCE = {
    "psi_watch": 1e-6,
    "psi_alarm": 2e-6,
    "worse_by": dict.fromkeys(("auc_roc", "average_precision", "normalised_log_loss", "observed_to_expected"), 1e-6),
}


def config(**monitoring: Any) -> Config:
    found = load_config(None, {"evaluation.bootstrap_resamples": 100}, environment={})
    return found.model_copy(update={"monitoring": found.monitoring.model_copy(update=monitoring)})


def feature(drift: Drift, name: str, period: str = WINDOW) -> FeatureDrift:
    (found,) = [entry for entry in drift.features if (entry.feature, entry.period) == (name, period)]
    return found


def metric(drift: Drift, name: str, period: str = WINDOW) -> PerformanceDrift:
    (found,) = [entry for entry in drift.metrics if (entry.metric, entry.period) == (name, period)]
    return found


def alarms(drift: Drift) -> set[str]:
    found = {entry.feature for entry in drift.features if (entry.period, entry.status) == (WINDOW, ALARM)}
    found |= {entry.metric for entry in drift.metrics if (entry.period, entry.status) == (WINDOW, ALARM)}
    assert len(drift.verdict.alarms) == len(found)
    assert all(any(text.split(":")[0].startswith(name) for text in drift.verdict.alarms) for name in found & PLAIN)
    return found


PLAIN = {"price", "views", "is_sale", "brand", "probability"}


@pytest.mark.statistics
@pytest.mark.parametrize(("settings", "draws"), [({}, 60), (NO_TOLERANCE, 200)])
def test_where_nothing_changes_hardly_any_draw_is_an_alarm(settings: dict[str, Any], draws: int) -> None:
    """With tolerances that hold nothing back, the limits alone keep alarms below 1 less the confidence."""
    chosen, shop = config(**settings), Shop()
    found = [shop.drift(seed, chosen).verdict.status for seed in range(draws)]
    share, allowed = found.count(ALARM) / draws, 1 - chosen.evaluation.confidence
    assert share <= allowed + 2 * math.sqrt(allowed * (1 - allowed) / draws)


@pytest.mark.statistics
def test_few_visitors_are_no_reason_for_an_alarm() -> None:
    """Their index is far above the thresholds in common use, by chance."""
    chosen, shop = config(min_rows=2, min_positives=5), Shop(before=400, since=25)
    drifts = [shop.drift(seed, chosen) for seed in range(60)]
    highest = [max(entry.psi or 0 for entry in drift.features if entry.period == WINDOW) for drift in drifts]
    assert np.mean(np.array(highest) > chosen.monitoring.psi_alarm) > 0.9
    found = [drift.verdict.status for drift in drifts]
    assert found.count(ALARM) <= 0.05 * len(found)
    assert STABLE not in found


def shift_price(rows: pd.DataFrame, _: np.random.Generator) -> None:
    rows["price"] *= 4


def lose_price(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows.loc[rng.random(len(rows)) < 0.5, "price"] = np.nan


def new_brand(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows.loc[rng.random(len(rows)) < 0.3, "brand"] = "launched"


def halve_labels(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows.loc[rng.random(len(rows)) < 0.5, "has_transaction"] = 0


def forget_order(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows["has_transaction"] = rng.permutation(rows["has_transaction"])


def raise_scores(rows: pd.DataFrame, _: np.random.Generator) -> None:
    rows["probability"] = rows["probability"] ** 0.5


@pytest.mark.parametrize(
    ("change", "named", "text"),
    [
        (shift_price, {"price"}, "changed most: over "),
        (lose_price, {"price"}, "missing: "),
        (new_brand, {"brand"}, "new since the training: launched"),
        (halve_labels, {"observed_to_expected"}, "observed over predicted conversions 0."),
        (forget_order, {"auc_roc", "normalised_log_loss"}, "AUC 0."),
        (raise_scores, {"probability", "observed_to_expected"}, "probability: PSI"),
    ],
)
def test_a_change_is_an_alarm_that_names_it(change: Any, named: set[str], text: str) -> None:
    drift = Shop(before=3000, since=1200).drift(5, config(), change)
    assert drift.verdict.status == ALARM
    assert alarms(drift) >= named
    assert not alarms(drift) & {"views", "is_sale"}
    assert any(text in alarm for alarm in drift.verdict.alarms)


def test_a_ratio_that_comes_nearer_to_1_is_no_alarm() -> None:
    def halve_scores(rows: pd.DataFrame, _: np.random.Generator) -> None:
        rows["probability"] /= 2

    shop, settings = Shop(before=3000, since=1200), config(not_counted=["*"])
    assert metric(shop.drift(5, settings, halve_scores), "observed_to_expected").status == ALARM

    class TooHighBefore(Shop):
        def rows(self, rng: np.random.Generator, visitors: int, first_day: int) -> pd.DataFrame:
            found = super().rows(rng, visitors, first_day)
            halve_labels(found, rng)
            return found

    drift = TooHighBefore(before=3000, since=1200).drift(5, settings, halve_scores)
    ratio = metric(drift, "observed_to_expected")
    assert (ratio.change_lower or 0) > 0.1
    assert ratio.status == STABLE


def test_a_small_sure_change_is_watched_and_no_alarm() -> None:
    def nudge(rows: pd.DataFrame, _: np.random.Generator) -> None:
        rows["price"] *= 1.9

    drift = Shop(before=4000, since=3000).drift(5, config(), nudge)
    assert 0.1 < (feature(drift, "price").psi or 0) < 0.25
    assert feature(drift, "price").status == WATCH
    assert drift.verdict.status == WATCH
    assert drift.verdict.alarms == ()


def test_the_calendar_does_not_count() -> None:
    def one_day(rows: pd.DataFrame, _: np.random.Generator) -> None:
        rows["decision_weekday"] = 3

    drift = Shop().drift(5, config(), one_day)
    assert (feature(drift, "decision_weekday").psi or 0) > 1
    assert feature(drift, "decision_weekday").status == NOT_COUNTED
    assert drift.verdict.status != ALARM


def test_what_is_too_little_is_never_an_all_clear() -> None:
    def still_open(rows: pd.DataFrame, _: np.random.Generator) -> None:
        rows["is_mature"] = 0

    drift = Shop().drift(5, config(), still_open)
    assert (drift.verdict.population, drift.verdict.performance, drift.verdict.status) == (STABLE, TOO_FEW, TOO_FEW)
    assert metric(drift, "auc_roc").value is None
    drift = Shop(since=12).drift(5, config())
    assert (drift.verdict.population, drift.verdict.performance) == (TOO_FEW, TOO_FEW)
    drift = Shop(since=0).drift(5, config())
    assert drift.verdict.status == TOO_FEW
    assert feature(drift, "price").psi is None
    assert heaviest([]) == TOO_FEW


def test_alarms_look_at_the_window_alone() -> None:
    def long_ago(rows: pd.DataFrame, _: np.random.Generator) -> None:
        rows.loc[rows["day"] < rows["day"].max() - 6, "price"] *= 30

    drift = Shop(since=2000).drift(5, config(window_days=7), long_ago)
    assert feature(drift, "price").status == STABLE
    weeks = sorted({entry.period for entry in drift.features} - {WINDOW})
    assert len(weeks) == 5
    assert feature(drift, "price", weeks[0]).status == ALARM
    assert drift.verdict.status != ALARM


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(FunneliftError, match="psi_watch must be smaller than psi_alarm"):
        load_config(None, {"monitoring.psi_watch": 0.3}, environment={})
    with pytest.raises(FunneliftError, match=r"monitoring\.worse_by"):
        load_config(None, {"monitoring.worse_by": {"f1": 0.1}}, environment={})
