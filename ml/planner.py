"""The experiment to run next: its size, its days, what it can detect, what a thousand runs of it would show."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """An experiment on the top share of sessions by uplift: rows an arm, days, and the smallest lift it can detect.

    Rates and lifts are shares of sessions (0.01 is one percentage point). `sessions_per_arm` and `days_needed` are null
    where the expected lift is not above zero. `smallest_lift_short` and `smallest_lift_long` are what the traffic of
    `days_short` and `days_long` days can show.
    """

    share_percent: int
    sessions_per_day: float
    control_rate: float
    expected_lift: float
    sessions_per_arm: int | None
    days_needed: float | None
    days_short: int
    smallest_lift_short: float
    days_long: int
    smallest_lift_long: float
    is_simulated: bool


@dataclass(frozen=True)
class SimulatedTest:
    """One run of the planned experiment on the estimated effects."""

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
