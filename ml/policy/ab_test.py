"""What a thousand runs of the planned experiment would show."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from statsmodels.stats.proportion import confint_proportions_2indep

from ml.arrays import Floats
from ml.config import PlannerSettings
from warehouse.errors import FunneliftError


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


def ab_test_simulation(
    control_rate: float, treatment_rate: float, sessions_per_arm: int, settings: PlannerSettings, seed: int
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

    Returns
    -------
    list of SimulatedTest
        One per run; Newcombe's interval of the lift at confidence 1 - significance. Arms that both convert nobody, or
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
        raise FunneliftError(f"simulated experiment: {sessions_per_arm} sessions per arm; at least 1 is needed")
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
        )
        for at, replicate in enumerate(range(1, settings.simulations + 1))
    ]


def _p_values(control: npt.NDArray[np.int64], treatment: npt.NDArray[np.int64], n: int) -> Floats:
    pooled = (control + treatment) / (2 * n)
    error = np.sqrt(pooled * (1 - pooled) * 2 / n)
    # Without any spread there is no difference either.
    z = np.divide((treatment - control) / n, error, out=np.zeros(len(error)), where=error > 0)
    p_values: Floats = 2 * norm.sf(np.abs(z))
    return p_values
