"""Whether more of an outcome is good."""

import re
from typing import Protocol

from ml.experiment.designed import AverageEffect

BAD = re.compile(
    r"churn|cancel|unsub|opt_?out|return(ed|s)?$|refund|chargeback|complain|lapse|attrit|inactiv|lost|bounce|default|"
    r"fraud|spam|error|fail|crash|died|death|dead|mortal|relapse|unem|readmi|hospitali[sz]|late|delay|abandon|quit",
    re.IGNORECASE,
)


class Directed(Protocol):
    """What was told of an outcome."""

    @property
    def outcome(self) -> str:
        """Its column."""

    @property
    def lower_is_better(self) -> bool:
        """Whether less of it is better."""


def direction_hint(columns: Directed, average: AverageEffect, *, is_binary: bool) -> list[str]:
    """Say what the outcome was taken for, where its name or the effect make one ask.

    Parameters
    ----------
    columns : Directed
        Name of the outcome, and what was told.
    average : AverageEffect
        What was found.
    is_binary : bool
        Whether the outcome is 0 or 1.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    one = "an outcome of 1" if is_binary else "more of the outcome"
    if columns.lower_is_better:
        return [f"Less of {columns.outcome} is better, as told: rankings and money count rows without it."]
    if BAD.search(columns.outcome):
        return [
            f"{one.capitalize()} is taken to be good, but the name {columns.outcome} sounds as if less were better: "
            "if so, add --lower-is-better."
        ]
    if average.effect[2] < 0:
        return [
            f"{one.capitalize()} is taken to be good, and the treatment lowers it. If less is better, "
            "add --lower-is-better."
        ]
    return []
