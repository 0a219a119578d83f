"""Predictions out: `python -m ml.train` and `python -m ml.score`."""
