"""How well a score ranks sessions by what an intervention changes, with intervals that resample visitors."""

from dataclasses import dataclass


@dataclass(frozen=True)
class UpliftMetric:
    """One metric of one learner on the test slice; `versus` names the learner it is the difference to, if any."""

    learner: str
    versus: str
    metric: str
    value: float
    ci_lower: float
    ci_upper: float
    n_rows: int
    n_treatment: int
    n_control: int
    is_simulated: bool


@dataclass(frozen=True)
class UpliftDecile:
    """One decile of test rows by score (1 is the highest): predicted and observed uplift, and the truth if known."""

    learner: str
    decile: int
    n_treatment: int
    n_control: int
    conversions_treatment: int
    conversions_control: int
    predicted_uplift: float
    observed_uplift: float
    ci_lower: float
    ci_upper: float
    true_uplift: float | None
    is_simulated: bool
