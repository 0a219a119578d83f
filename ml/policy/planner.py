"""The experiment to run next: its size, its days, and what it can detect."""

import math
from dataclasses import dataclass

from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_effectsize

from ml.config import PlannerSettings
from ml.policy.estimates import Estimate, Scored, ShareSums

MOST_SESSIONS = 2.0**53


@dataclass(frozen=True)
class Plan:
    """An experiment on the top share of sessions by uplift: rows per arm, days, and the smallest lift it can detect.

    Rates and lifts are shares of sessions (0.01 is one percentage point). `sessions_per_arm` and `days_needed` are null
    where the expected lift is not above zero. `smallest_lift_short` and `smallest_lift_long` are what the traffic of
    `days_short` and `days_long` days can show; null where it cannot even show that everybody converts. Sessions count
    as independent: where visitors come back within the experiment, it takes somewhat longer.
    """

    share_percent: int
    sessions_per_day: float
    control_rate: float
    expected_lift: float
    sessions_per_arm: int | None
    days_needed: float | None
    days_short: int
    smallest_lift_short: float | None
    days_long: int
    smallest_lift_long: float | None


def experiment_plan(test: Scored, sessions_per_day: float, settings: PlannerSettings) -> list[Plan]:
    """Size the experiment that would prove the effect on the top shares of sessions by uplift.

    Half of the targeted sessions go to each arm. Sizes are those of the two-sided z test on Cohen's h, the difference
    of the rates' arcsine square roots, which makes the variance the same at every rate.

    Parameters
    ----------
    test : Scored
        Rows of the test split, both arms among them; rates and lifts are their doubly robust estimates.
    sessions_per_day : float
        Eligible sessions per day, targeted or not.
    settings : PlannerSettings
        Power, significance, shares in percent and the two waiting times in days.

    Returns
    -------
    list of Plan
        One per share, in the order of the settings; none for a share that targets no test row.

    Raises
    ------
    FunneliftError
        When the split lacks an arm.

    References
    ----------
    Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 6; statsmodels' `NormalIndPower`.
    """
    # The effect that one session per arm can detect. It shrinks with the root of the sessions.
    unit = float(NormalIndPower().solve_power(nobs1=1, alpha=settings.significance, power=settings.power, ratio=1))
    robust, _ = ShareSums(test).observed()
    plans = []
    for percent in settings.shares:
        targeted = float(robust["uplift"].targeted[0, percent])
        if targeted == 0:
            continue
        control_rate, lift = _rates(robust["uplift"], percent)
        per_day = sessions_per_day * targeted / 2
        needed = _sessions_needed(control_rate, lift, unit)
        short, long = settings.days
        plans.append(
            Plan(
                share_percent=percent,
                sessions_per_day=sessions_per_day,
                control_rate=control_rate,
                expected_lift=lift,
                sessions_per_arm=needed,
                days_needed=needed / per_day if needed is not None and per_day > 0 else None,
                days_short=short,
                smallest_lift_short=_smallest_lift(control_rate, per_day * short, unit),
                days_long=long,
                smallest_lift_long=_smallest_lift(control_rate, per_day * long, unit),
            )
        )
    return plans


def _rates(estimate: Estimate, percent: int) -> tuple[float, float]:
    """Conversion rate of the targeted without treatment, and what treatment adds to it."""
    targeted = float(estimate.targeted[0, percent])
    treated, lift = (
        float(total[0, percent]) / targeted for total in (estimate.redemptions, estimate.incremental_conversions)
    )
    # In few rows the doubly robust estimate of a rate may leave 0 to 1.
    control_rate = min(max(treated - lift, 0.0), 1.0)
    return control_rate, min(max(treated, 0.0), 1.0) - control_rate


def _sessions_needed(control_rate: float, lift: float, unit: float) -> int | None:
    effect = float(proportion_effectsize(control_rate + lift, control_rate))
    # A lift so small that the number has no exact float is as good as none.
    if effect <= 0 or (unit / effect) ** 2 > MOST_SESSIONS:
        return None
    return math.ceil((unit / effect) ** 2)


def _smallest_lift(control_rate: float, sessions_per_arm: float, unit: float) -> float | None:
    if sessions_per_arm < 1:
        return None
    # Cohen's h is twice the difference of the angles, and a rate of 1 has the angle pi / 2.
    angle = math.asin(math.sqrt(control_rate)) + unit / math.sqrt(sessions_per_arm) / 2
    return math.sin(angle) ** 2 - control_rate if angle <= math.pi / 2 else None
