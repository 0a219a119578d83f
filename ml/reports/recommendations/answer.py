"""The answer: what to do."""

from ml.policy.projection import Projection
from ml.reports.facts import UpliftFacts
from ml.reports.recommendations.doubts import doubts
from ml.reports.recommendations.phrases import (
    conversions_text,
    group_text,
    profit_text,
    shown_by_traffic,
    size_text,
    takes_too_long,
    terms_text,
)
from ml.reports.wording import RULES


def answer(facts: UpliftFacts) -> list[str]:
    """Say what to do: spend, or run the experiment first, and why."""
    chosen, reasons = facts.chosen, doubts(facts)
    if chosen is None:
        action = f"Do not spend: {terms_text(facts)}, no share of {facts.units} is expected to earn anything"
        gain = f"The best plan found is to treat nobody{_everybody_text(facts)}."
    elif chosen.profit_ci_upper < 0:
        action = "Do not spend: the best plan found loses money"
        gain = f"{_gain_text(facts, chosen)}."
    elif not facts.earns:
        action = "Do not spend yet: it is not shown that the intervention earns anything"
        gain = f"{_gain_text(facts, chosen)}, and that interval includes 0."
    elif reasons:
        action = f"Do not spend yet: {' and '.join(reasons)}"
        gain = f"{_gain_text(facts, chosen)}, if that were real."
    else:
        action = f"Treat {group_text(facts, chosen.share_percent)} ({_treated(facts, chosen)})"
        gain = f"Expect {conversions_text(chosen)} more conversions and a profit of {profit_text(chosen)}."
    because = (
        "so that the gain stays measured" if facts.is_confirmed else "for a second method does not confirm the gain"
    )
    then = f"Leave a random part of them untreated, {because}{_better_rules(facts)}."
    if not facts.earns or reasons:
        then = _experiment_first(facts)
    return ["## The answer", "", f"**{action}.** {gain} {then}", ""]


def _gain_text(facts: UpliftFacts, chosen: Projection) -> str:
    return (
        f"Treating {group_text(facts, chosen.share_percent)} ({_treated(facts, chosen)}) would bring "
        f"{conversions_text(chosen)} more conversions and a profit of {profit_text(chosen)}"
    )


def _treated(facts: UpliftFacts, chosen: Projection) -> str:
    where = f"in {facts.config.policy.horizon_days:g} days" if facts.first_at else f"of {chosen.eligible_sessions:,.0f}"
    return f"{chosen.targeted_sessions:,.0f} {where}"


def _everybody_text(facts: UpliftFacts) -> str:
    everybody = facts.projection("random", 100)
    return f"; treating everybody would bring a profit of {profit_text(everybody)}" if everybody else ""


def _better_rules(facts: UpliftFacts) -> str:
    better = [RULES[gain.versus] for gain in facts.policy.gains if gain.ci_upper < 0]
    return f"; but first see the simpler rule that earns more ({', '.join(better)})" if better else ""


def _experiment_first(facts: UpliftFacts) -> str:
    plan = facts.planned
    if plan is None:
        return "Run an experiment first."
    if plan.sessions_per_arm is None or takes_too_long(facts, plan):
        another = "another" if plan.sessions_per_arm is None else "a stronger"
        return f"Run an experiment first, with {another} intervention{shown_by_traffic(facts, plan)}."
    return f"Run the experiment first: {size_text(facts, plan)}."
