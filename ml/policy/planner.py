"""The experiment to run next: its size, its days, what it can detect, what a thousand runs of it would show."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_effectsize

from ml.arrays import Floats
from ml.config import PlannerSettings
from ml.policy.estimates import Scored, ShareSums
from warehouse.errors import FunneliftError

MOST_SESSIONS = 2.0**53


@dataclass(frozen=True)
class Plan:
    """An experiment on the top share of sessions by uplift: rows an arm, days, and the smallest lift it can detect.

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
    is_simulated: bool


@dataclass(frozen=True)
class SimulatedTest:
    """One run of the planned experiment on the estimated effects; its lift is treatment's rate less control's."""

    replicate: int
    n_control: int
    n_treatment: int
    conversions_control: int
    conversions_treatment: int
    measured_lift: float
    ci_lower: float
    ci_upper: float
    p_value: float
    is_significant: bool
    is_simulated: bool


def experiment_plan(test: Scored, sessions_per_day: float, settings: PlannerSettings, is_simulated: bool) -> list[Plan]:
    """Size the experiment that would prove the effect on the top shares of sessions by uplift.

    Half of the targeted sessions go to each arm. Sizes are those of the two-sided z test on Cohen's h, the difference
    of the rates' arcsine square roots, which makes the variance the same at every rate.

    Parameters
    ----------
    test : Scored
        Rows of the test slice, both arms among them; rates and lifts are their doubly robust estimates.
    sessions_per_day : float
        Eligible sessions a day, targeted or not.
    settings : PlannerSettings
        Power, significance, shares in percent and the two waiting times in days.
    is_simulated : bool
        Whether the arms and effects are made up.

    Returns
    -------
    list of Plan
        One a share, in the order of the settings; none for a share that targets no test row.

    Raises
    ------
    FunneliftError
        When the slice lacks an arm.

    References
    ----------
    Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 6; statsmodels' `NormalIndPower`.
    """
    # The effect that one session an arm can detect. It shrinks with the root of the sessions.
    unit = float(NormalIndPower().solve_power(nobs1=1, alpha=settings.significance, power=settings.power, ratio=1))
    robust, _ = ShareSums(test).observed()
    estimate = robust["uplift"]
    plans = []
    for percent in settings.shares:
        targeted = float(estimate.targeted[0, percent])
        if targeted == 0:
            continue
        treated, lift = (
            float(total[0, percent]) / targeted for total in (estimate.redemptions, estimate.incremental_conversions)
        )
        # In few rows the doubly robust estimate of a rate may leave 0 to 1.
        control_rate = min(max(treated - lift, 0.0), 1.0)
        lift = min(max(treated, 0.0), 1.0) - control_rate
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
                is_simulated=is_simulated,
            )
        )
    return plans


def ab_test_simulation(
    control_rate: float,
    treatment_rate: float,
    sessions_per_arm: int,
    settings: PlannerSettings,
    seed: int,
    is_simulated: bool,
) -> list[SimulatedTest]:
    """Run the planned experiment many times on given rates.

    Parameters
    ----------
    control_rate, treatment_rate : float
        True conversion rates of the arms, 0 to 1.
    sessions_per_arm : int
        Independent sessions in each arm, at least 1.
    settings : PlannerSettings
        Number of runs, and the significance of the two-sided two-proportion z test with pooled variance.
    seed : int
        Seed of the draws.
    is_simulated : bool
        Whether the rates come from made-up effects.

    Returns
    -------
    list of SimulatedTest
        One a run; Newcombe's interval of the lift at confidence 1 - significance. Arms that both convert nobody, or
        both everybody, show no difference: p-value 1.

    Raises
    ------
    FunneliftError
        When a rate is outside 0 to 1, or there is no session.

    References
    ----------
    Newcombe (1998), Statistics in Medicine 17(8), method 10; as statsmodels' `confint_proportions_2indep`.
    """
    for name, rate in (("control", control_rate), ("treatment", treatment_rate)):
        if not 0 <= rate <= 1:
            raise FunneliftError(f"simulated experiment: the {name} rate is {rate} and must be between 0 and 1")
    if sessions_per_arm < 1:
        raise FunneliftError(f"simulated experiment: {sessions_per_arm} sessions an arm; at least 1 is needed")
    n = sessions_per_arm
    rng = np.random.default_rng(seed)
    control = rng.binomial(n, control_rate, settings.simulations)
    treatment = rng.binomial(n, treatment_rate, settings.simulations)
    lift = (treatment - control) / n
    bounds = confint_proportions_2indep(
        treatment, n, control, n, compare="diff", method="newcomb", alpha=settings.significance
    )
    # Rounding may carry a bound past what a difference of rates can be.
    lower, upper = np.clip(bounds, -1, 1)
    p_value = _p_values(control, treatment, n)
    return [
        SimulatedTest(
            replicate=replicate,
            n_control=n,
            n_treatment=n,
            conversions_control=int(control[at]),
            conversions_treatment=int(treatment[at]),
            measured_lift=float(lift[at]),
            ci_lower=float(lower[at]),
            ci_upper=float(upper[at]),
            p_value=float(p_value[at]),
            is_significant=bool(p_value[at] < settings.significance),
            is_simulated=is_simulated,
        )
        for at, replicate in enumerate(range(1, settings.simulations + 1))
    ]


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


def _p_values(control: npt.NDArray[np.int64], treatment: npt.NDArray[np.int64], n: int) -> Floats:
    pooled = (control + treatment) / (2 * n)
    error = np.sqrt(pooled * (1 - pooled) * 2 / n)
    # Without any spread there is no difference either.
    z = np.divide((treatment - control) / n, error, out=np.zeros(len(error)), where=error > 0)
    p_values: Floats = 2 * norm.sf(np.abs(z))
    return p_values
