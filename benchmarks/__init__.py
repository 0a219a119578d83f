"""Whole-process measurements beside plain ways of doing the same, in one run."""

import warehouse  # noqa: F401  (before DuckDB and Arrow: see there)
