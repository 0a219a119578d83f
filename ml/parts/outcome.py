"""What a part of a run hands on."""

from dataclasses import dataclass

from warehouse.base import Publication


@dataclass(frozen=True)
class Outcome:
    """What a part of a run hands on: tables to publish, and lines for whoever started it."""

    publications: list[Publication]
    findings: list[str]
