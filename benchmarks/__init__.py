"""Whole-process measurements beside plain ways of doing the same, in one run."""
