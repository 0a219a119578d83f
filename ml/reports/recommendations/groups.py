"""Who they are, in words: the groups of the tree, and how the top tenth differ from the rest."""

from ml.policy.groups import GroupsValue, UpliftGroup
from ml.reports.facts import UpliftFacts
from ml.reports.wording import UNDEFINED, money, percent
from ml.uplift.profile import UpliftFeature, most_different, strongest

MOST_FEATURES = 6


def groups(facts: UpliftFacts) -> list[str]:
    """Say in words which groups gain, what treating those that pay earns, and who the top tenth are."""
    whom = facts.whom
    if whom is None or not whom.groups:
        return []
    return [
        "## Who they are, in words",
        "",
        *_groups(facts, whom.groups),
        "",
        *([_value(facts, whom.value), ""] if whom.value else []),
        *_profile(facts, whom.profile),
    ]


def _groups(facts: UpliftFacts, found: list[UpliftGroup]) -> list[str]:
    if len(found) == 1:
        return [
            f"No split of the {facts.units} into groups predicts the effect on others better than one effect for all."
        ]
    evaluated = sum(entry.n_rows for entry in found)
    return [
        f"A tree of a few questions, learnt on one part of the data, evaluated on {evaluated:,} {facts.units} of "
        "another. A group is to be treated if that paid where the tree was learnt.",
        "",
        *(_line(facts, entry, evaluated) for entry in found),
    ]


def _line(facts: UpliftFacts, entry: UpliftGroup, evaluated: int) -> str:
    verdict = "Treat" if entry.treat else "Do not treat"
    return (
        f"- {verdict}: {facts.units} with **{entry.rule}**. {entry.n_rows:,} of {evaluated:,} {facts.units}, "
        f"effect {effect_text(entry)}."
    )


def effect_text(entry: UpliftGroup) -> str:
    """Return a group's effect in percentage points with its interval, as "4.1 points (2.9 to 5.3)"."""
    if entry.effect is None or entry.ci_lower is None or entry.ci_upper is None:
        return UNDEFINED
    value, lower, upper = (f"{round(100 * each, 1) + 0:.1f}" for each in (entry.effect, entry.ci_lower, entry.ci_upper))
    return f"{value} points ({lower} to {upper})"


def _value(facts: UpliftFacts, value: GroupsValue) -> str:
    if value.versus_ranking_ci_upper < 0:
        verdict = "the ranking earns more"
    elif value.versus_ranking_ci_lower > 0:
        verdict = "the groups earn more"
    else:
        verdict = "no difference shown"
    own = money(value.profit, value.profit_ci_lower, value.profit_ci_upper)
    versus = money(value.versus_ranking, value.versus_ranking_ci_lower, value.versus_ranking_ci_upper)
    return (
        f"Treating these groups ({percent(value.share)} of {facts.units}) earns {own} per 1,000 {facts.units}. Less "
        f"what treating as many by the ranking earns, that is {versus}: {verdict}."
    )


def _profile(facts: UpliftFacts, profile: list[UpliftFeature]) -> list[str]:
    if not profile:
        return []
    different, moving = most_different(profile, MOST_FEATURES), strongest(profile, MOST_FEATURES)
    lines = []
    if different:
        lines += [
            f"The tenth of {facts.units} with the highest uplift against the rest, the largest difference first:",
            "",
            *(f"- {entry.words}" for entry in different),
            "",
        ]
    if moving:
        names = "; ".join(f"{entry.label} ({entry.direction})" for entry in moving)
        lines += [f"What moves the predicted uplift most: {names}.{_fidelity(profile[0].fidelity)}", ""]
    return lines


def _fidelity(fidelity: float) -> str:
    if fidelity == 1:
        return ""
    return f" Read off a model that follows the ranking; it explains {percent(fidelity)} of the score's variance."
