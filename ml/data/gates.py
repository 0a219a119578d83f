"""The error of a gate that fails."""

from warehouse.errors import FunneliftError

REBUILD = "Run `dbt build`, so that all marts come from the same events; if it stays, a mart was changed by hand"


class GateError(FunneliftError):
    """A gate that failed: its name, the two numbers that differ and what to do."""

    def __init__(self, gate: str, what: str, expected: object, found: object, remedy: str) -> None:
        super().__init__(f"gate {gate} failed: {what}: expected {expected}, found {found}. {remedy}")
        self.gate = gate
