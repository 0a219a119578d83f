"""Predictions brought up to date with saved models: which rows changed, and what the models say of them now."""
