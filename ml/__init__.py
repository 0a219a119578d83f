"""Predictions out: `python -m ml.train`, `ml.score`, `ml.uplift` and `ml.report`."""

import os

# OpenMP reads this when a library is loaded. Threads that wait without spinning train three times faster on a machine
# that does something else as well.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import warehouse  # noqa: F401  (before DuckDB and Arrow: see there)
