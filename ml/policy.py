"""Whom to target, what it earns and with what certainty: policy value, ROI, break-even, sensitivity."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
STRATEGIES = ("uplift", "response", "random")


@dataclass(frozen=True)
class Scored:
    """Rows of one slice of an experiment, as a policy sees them.

    `treatment` and `outcome` are 0 or 1; `p_control` and `p_treatment` the predicted probabilities of a conversion;
    `percentiles` maps the strategies uplift and response to each row's rank, 0 to 1: the share of calibration rows
    with a lower score, ties broken at random; targeting the top share s means percentile >= 1 - s. `value` is the
    revenue of a conversion; `visitor` numbers the visitors.
    """

    treatment: npt.NDArray[np.int8]
    outcome: npt.NDArray[np.int8]
    p_control: Floats
    p_treatment: Floats
    percentiles: dict[str, Floats]
    value: Floats
    visitor: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Projection:
    """What a strategy earns when it targets a share of the eligible sessions, for `eligible_sessions` of them.

    Measured on the `n_rows` test rows and scaled. `incremental_conversions` is treated minus control among the
    targeted; `redemptions` the conversions of the targeted under treatment; both with standard errors and covariance,
    so that profit under other costs and revenues has an interval too. Doubly robust, unless named ipw.
    """

    strategy: str
    share_percent: int
    is_chosen: bool
    n_rows: int
    n_targeted: int
    n_targeted_treatment: int
    n_targeted_control: int
    eligible_sessions: float
    targeted_sessions: float
    incremental_conversions: float
    incremental_conversions_ci_lower: float
    incremental_conversions_ci_upper: float
    incremental_conversions_se: float
    redemptions: float
    redemptions_se: float
    conversions_covariance: float
    incremental_revenue: float
    incremental_margin: float
    cost: float
    profit: float
    profit_ci_lower: float
    profit_ci_upper: float
    profit_ipw: float
    profit_ipw_ci_lower: float
    profit_ipw_ci_upper: float
    roi: float | None
    roi_ci_lower: float | None
    roi_ci_upper: float | None
    is_simulated: bool


@dataclass(frozen=True)
class Sensitivity:
    """Profit of the uplift strategy under another cost and revenue, its share chosen anew on the calibration slice."""

    cost: float
    revenue_per_conversion: float
    share_percent: int
    profit: float
    profit_ci_lower: float
    profit_ci_upper: float


@dataclass(frozen=True)
class Gain:
    """How much more a strategy earns than a rival, each at its own chosen share, paired on the same resamples."""

    strategy: str
    versus: str
    difference: float
    ci_lower: float
    ci_upper: float


@dataclass(frozen=True)
class PolicyValue:
    """All that the test slice says about money.

    `chosen` holds each strategy's share in percent, as chosen on the calibration slice (0: treat nobody);
    `break_even_share` the largest share in percent at which the uplift strategy's profit is not negative (0: none);
    `break_even_cost` the cost at which the chosen uplift strategy earns nothing.
    """

    projections: list[Projection]
    chosen: dict[str, int]
    break_even_share: int
    break_even_cost: float | None
    sensitivity: list[Sensitivity]
    gains: list[Gain]
