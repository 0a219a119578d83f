"""What a part of a run hands on."""

from dataclasses import dataclass, field

from ml.run import Stamp
from warehouse.base import Publication


@dataclass(frozen=True)
class Outcome:
    """What a part of a run hands on: tables to publish, and lines for whoever started it.

    `scored` holds the stamp of each table of predictions whose rows were all scored anew; `refusal` says why the run
    does not take the published one's place, where it does not.
    """

    publications: list[Publication]
    findings: list[str]
    scored: dict[str, Stamp] = field(default_factory=dict)
    refusal: str | None = None
