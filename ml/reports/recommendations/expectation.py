"""What to expect of each rule."""

from ml.policy.projection import Projection
from ml.reports.facts import UpliftFacts
from ml.reports.recommendations.phrases import conversions_text, paid_per, period_text, profit_text, terms_text
from ml.reports.wording import RULES, UNDEFINED, money, percent


def expectation(facts: UpliftFacts) -> list[str]:
    """Compare what each rule earns."""
    paid = "Those who buy anyway are paid for too. " if facts.config.policy.cost_per == "redemption" else ""
    rows = [f"| {RULES['treat none']} | 0 % | 0 | 0 | 0 | 0 | 0 | not defined |"]
    for rule, entry in _compared(facts):
        cells = [
            f"**{rule}**" if entry is facts.chosen else rule,
            percent(entry.share_percent / 100),
            f"{entry.targeted_sessions:,.0f}",
            conversions_text(entry),
            money(entry.cost),
            money(entry.incremental_revenue),
            profit_text(entry),
            _roi(entry),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return [
        "## What to expect",
        "",
        *([f"**{facts.marks}: nobody earned this money.**", ""] if facts.marks else []),
        f"Per {period_text(facts)}, {terms_text(facts)}; {percent(facts.config.policy.margin)} of revenue is "
        f"kept. {paid}Only what the intervention adds is counted as a gain.",
        "",
        f"| rule | share treated | {facts.units} treated | extra conversions | cost | extra revenue | profit | ROI |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        _break_even(facts),
        "",
    ]


def _compared(facts: UpliftFacts) -> list[tuple[str, Projection]]:
    # The rankings at the share of the chosen plan; where that is nobody, each at the share chosen for it.
    chosen, rows = facts.policy.chosen, [(RULES["treat all"], facts.projection("random", 100))]
    for strategy in ("random", "response", "uplift"):
        share = chosen["uplift"] or chosen[strategy]
        # Where all are treated the ranking does not matter.
        if share < 100 or strategy == "uplift":
            rows.append((RULES[strategy], facts.projection(strategy, share)))
    return [(rule, entry) for rule, entry in rows if entry is not None]


def _break_even(facts: UpliftFacts) -> str:
    policy = facts.policy
    if policy.break_even_share == 0:
        text = f"In order of uplift, no share of {facts.units} breaks even."
    elif policy.break_even_share == 100:
        text = f"In order of uplift, even treating all {facts.units} does not lose money."
    else:
        text = f"In order of uplift, treating more than {policy.break_even_share} % of {facts.units} loses money."
    if policy.break_even_cost is not None and facts.chosen is not None:
        text += f" The chosen plan breaks even at a cost of {money(policy.break_even_cost)} per {paid_per(facts)}."
    return text


def _roi(entry: Projection) -> str:
    if entry.roi is None:
        return UNDEFINED
    if entry.roi_ci_lower is None or entry.roi_ci_upper is None:
        return f"{percent(entry.roi)} [{UNDEFINED}]"
    return f"{percent(entry.roi)} [{percent(entry.roi_ci_lower)} to {percent(entry.roi_ci_upper)}]"
