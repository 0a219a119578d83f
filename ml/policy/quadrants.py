"""What treating a session would do: the four quadrants."""

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.config import PolicySettings

QUADRANTS = ("persuadable", "sure thing", "lost cause", "sleeping dog")


def quadrants(
    p_control: Floats, p_treatment: Floats, value: Floats, baseline_rate: float, settings: PolicySettings
) -> npt.NDArray[np.int8]:
    """Say what treating each session would do, by its predicted probabilities.

    A persuadable is expected to earn more than treating it costs. A sleeping dog is not, and converts less when
    treated. Of the rest, a sure thing converts untreated at the baseline rate or more, a lost cause does not.

    Parameters
    ----------
    p_control, p_treatment : ndarray of shape (n_rows,)
        Predicted probability of a conversion without and with treatment.
    value : ndarray of shape (n_rows,)
        Revenue of a conversion.
    baseline_rate : float
        Conversion rate of the control arm in training.
    settings : PolicySettings
        Cost, what it is paid for, and margin.

    Returns
    -------
    ndarray of shape (n_rows,)
        Positions in `QUADRANTS`.
    """
    charged = p_treatment if settings.cost_per == "redemption" else 1.0
    uplift = p_treatment - p_control
    earns = settings.margin * value * uplift - settings.cost * charged > 0
    found = np.select([earns, uplift < 0, p_control >= baseline_rate], [0, 3, 1], default=2)
    return found.astype(np.int8)
