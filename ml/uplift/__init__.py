"""Whom does an intervention change? One learner a file, cross-fitting, metrics and intervals."""
