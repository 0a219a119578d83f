"""The page: its sections, in order."""

from itertools import chain

from ml.reports.facts import UpliftFacts
from ml.reports.recommendations.answer import answer
from ml.reports.recommendations.average_effect import average_effect
from ml.reports.recommendations.certainty import certainty
from ml.reports.recommendations.drop_off import drop_off
from ml.reports.recommendations.expectation import expectation
from ml.reports.recommendations.experiment import experiment
from ml.reports.recommendations.groups import groups
from ml.reports.recommendations.head import head
from ml.reports.recommendations.risks import risks
from ml.reports.recommendations.sensitivity import sensitivity
from ml.reports.recommendations.whom import whom

SECTIONS = (
    head,
    answer,
    average_effect,
    drop_off,
    whom,
    groups,
    expectation,
    certainty,
    risks,
    sensitivity,
    experiment,
)


def recommendations(facts: UpliftFacts) -> str:
    """Write the page.

    Parameters
    ----------
    facts : UpliftFacts
        Everything it speaks of.

    Returns
    -------
    str
        Markdown. Spending is recommended only on effects that were measured on real visitors in sound arms, and only
        where the whole interval of the profit lies above zero; else the experiment is.
    """
    return "\n".join(chain.from_iterable(section(facts) for section in SECTIONS))
