"""Whom to target, what it earns and with what certainty."""
