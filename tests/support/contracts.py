"""Contracts for tests, and those of the tables that ml writes."""

from warehouse.contract import Column, Contract, read_project

PUBLISHED = {contract.name: contract for contract in read_project().of_layer("predictions")}


def contract(name: str, grain: tuple[str, ...], **types: str) -> Contract:
    """A contract of columns with these types; a question mark behind a type lets the column hold nulls."""
    columns = (
        Column(column, kind.removesuffix("?"), kind.endswith("?"), f"The {column}.", {})
        for column, kind in types.items()
    )
    return Contract(name, "predictions", f"One row per {grain[0]}.", grain, tuple(columns), written_by="ml")
