"""Will this session still convert? One model per file, calibration, evaluation, reasons and risk bands."""

from typing import Any

import numpy as np


def signed_log(values: Any) -> Any:
    """Return sign(x) log(1 + |x|), which tames long tails and keeps nulls."""
    return np.sign(values) * np.log1p(np.abs(values))
