"""What to do, for the person who pays: whom to target, what it earns, how sure that is, what to test next."""

import math
from itertools import chain

import numpy as np

from ml.policy.planner import Plan
from ml.policy.values import Projection, Sensitivity
from ml.reports.facts import LEARNER, Difference, UpliftFacts
from ml.reports.wording import (
    QUADRANTS,
    RULES,
    TITLES,
    UNDEFINED,
    metric_text,
    money,
    percent,
    points_text,
    ranking_difference,
    significant_shares,
)

# A longer experiment outlives the shop it started in: season, range and prices.
LONGEST_DAYS = 365


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
    sections = (_head, _answer, _drop_off, _whom, _expect, _certainty, _risks, _sensitivity, _experiment)
    return "\n".join(chain.from_iterable(section(facts) for section in sections))


def _head(facts: UpliftFacts) -> list[str]:
    what = []
    if facts.is_simulated:
        what.append("Nobody was treated: the effects are assumed in the settings, so no gain below was measured.")
    if facts.is_synthetic:
        what.append("The visitors are made up: nothing below describes a real shop.")
    span = f", {facts.first_at} to {facts.last_at} UTC" if facts.first_at is not None else ""
    average = facts.metric("all", "average_effect")
    judged = (
        f" Judged on {average.n_rows:,} {facts.units} that no model had seen ({average.n_treatment:,} treated, "
        f"{average.n_control:,} not){span}."
        if average
        else ""
    )
    return [
        *([f"> **{facts.marks}.** {' '.join(what)}", ""] if what else []),
        "# Recommendations: whom to treat, and what it earns",
        "",
        f"Run `{facts.run_id}`, model `{facts.model_version}`, {facts.finished_at:%Y-%m-%d %H:%M} UTC. "
        f"From: {facts.source}; {facts.eligible}.{judged} Numbers in [brackets] are {facts.confidence} intervals.",
        "",
    ]


def _answer(facts: UpliftFacts) -> list[str]:
    chosen, doubts = facts.chosen, _doubts(facts)
    if chosen is None:
        action = f"Do not spend: {_terms(facts)}, no share of {facts.units} is expected to earn anything"
        gain = f"The best plan found is to treat nobody{_everybody_text(facts)}."
    elif chosen.profit_ci_upper < 0:
        action = "Do not spend: the best plan found loses money"
        gain = f"{_gain_text(facts, chosen)}."
    elif not facts.earns:
        action = "Do not spend yet: it is not shown that the intervention earns anything"
        gain = f"{_gain_text(facts, chosen)}, and that interval includes 0."
    elif doubts:
        action = f"Do not spend yet: {' and '.join(doubts)}"
        gain = f"{_gain_text(facts, chosen)}, if that were real."
    else:
        action = f"Treat {_group(facts, chosen.share_percent)} ({_treated(facts, chosen)})"
        gain = f"Expect {_conversions(chosen)} more conversions and a profit of {_profit(chosen)}."
    reason = (
        "so that the gain stays measured" if facts.is_confirmed else "for a second method does not confirm the gain"
    )
    then = f"Leave a random part of them untreated, {reason}{_better_rules(facts)}."
    if not facts.earns or doubts:
        then = _experiment_first(facts)
    return ["## The answer", "", f"**{action}.** {gain} {then}", ""]


def _doubts(facts: UpliftFacts) -> list[str]:
    # Why a gain, however large, is no reason to spend.
    placebo = facts.placebo_qini
    reasons = [
        ("the effects are simulated", facts.is_simulated),
        ("the visitors are made up", facts.is_synthetic),
        ("the arms do not look as if they were drawn by lot", not _arms_are_sound(facts)),
        ("the placebo check finds an effect where there is none", placebo is not None and placebo.ci_lower > 0),
    ]
    return [reason for reason, holds in reasons if holds]


def _arms_are_sound(facts: UpliftFacts) -> bool:
    found = [facts.mismatch_p, facts.balance_worst[2] if facts.balance_worst else None]
    return all(p is None or p >= facts.config.experiment.highest_mismatch_p for p in found)


def _gain_text(facts: UpliftFacts, chosen: Projection) -> str:
    return (
        f"Treating {_group(facts, chosen.share_percent)} ({_treated(facts, chosen)}) would bring "
        f"{_conversions(chosen)} more conversions and a profit of {_profit(chosen)}"
    )


def _treated(facts: UpliftFacts, chosen: Projection) -> str:
    where = f"in {facts.config.policy.horizon_days:g} days" if facts.first_at else f"of {chosen.eligible_sessions:,.0f}"
    return f"{chosen.targeted_sessions:,.0f} {where}"


def _everybody_text(facts: UpliftFacts) -> str:
    everybody = facts.projection("random", 100)
    return f"; treating everybody would bring a profit of {_profit(everybody)}" if everybody else ""


def _better_rules(facts: UpliftFacts) -> str:
    better = [RULES[gain.versus] for gain in facts.policy.gains if gain.ci_upper < 0]
    return f"; but first see the simpler rule that earns more ({', '.join(better)})" if better else ""


def _experiment_first(facts: UpliftFacts) -> str:
    plan = facts.planned
    if plan is None:
        return "Run an experiment first."
    if plan.sessions_per_arm is None or _takes_too_long(facts, plan):
        another = "another" if plan.sessions_per_arm is None else "a stronger"
        return f"Run an experiment first, with {another} intervention{_shown_by_traffic(facts, plan)}."
    return f"Run the experiment first: {_size(facts, plan)}."


def _takes_too_long(facts: UpliftFacts, plan: Plan) -> bool:
    return facts.first_at is not None and plan.days_needed is not None and plan.days_needed > LONGEST_DAYS


def _shown_by_traffic(facts: UpliftFacts, plan: Plan) -> str:
    if facts.first_at is None or plan.smallest_lift_long is None:
        return ""
    lift = _points(plan.smallest_lift_long)
    return f": {plan.days_long} days of this group's traffic show a lift of {lift} percentage points or more"


def _size(facts: UpliftFacts, plan: Plan) -> str:
    days = (
        ""
        if facts.first_at is None or plan.days_needed is None
        else f", {math.ceil(plan.days_needed):,} days at today's traffic (run whole weeks)"
    )
    return f"{plan.sessions_per_arm:,} {facts.units} in each arm{days}"


def _drop_off(facts: UpliftFacts) -> list[str]:
    funnel = facts.funnel
    if funnel is None:
        return ["## Where shoppers drop off", "", "Not known here: this run read an experiment and no shop events.", ""]
    lost = (
        f"All sessions together left carts worth {money(funnel.revenue_lost)}: that is what was lost, not what can be "
        "won back; part of it was bought later."
        if funnel.revenue_lost > 0
        else "What was left in carts is not known: no cart with a known price was left."
    )
    return [
        "## Where shoppers drop off",
        "",
        f"The highest drop-off is from {funnel.step} to {funnel.next_step}: of {funnel.entered:,} sessions, "
        f"{funnel.dropped_off:,} ({percent(funnel.dropoff_rate, 1)}) went no further. {lost} "
        f"({funnel.sessions:,} sessions, {funnel.first_at} to {funnel.last_at} UTC.)",
        "",
    ]


def _whom(facts: UpliftFacts) -> list[str]:
    chosen, total = facts.chosen, sum(facts.quadrant_counts.values())
    if chosen is None:
        plan = "Nobody for now."
    else:
        name = "The plan" if facts.earns and not _doubts(facts) else "The plan that was tested (no advice to spend)"
        budget = facts.config.policy.budget
        within = f", within a budget of {money(budget)}" if budget is not None else ""
        plan = (
            f"{name}: {_group(facts, chosen.share_percent)}. The share was chosen on one part of the data{within}, and "
            "judged on another."
        )
    share = facts.config.uplift.top_shares[0]
    average, top = facts.metric("all", "average_effect"), facts.metric(LEARNER, f"uplift_at_{100 * share:g}")
    if average and top:
        plan += (
            f" The intervention adds {points_text(average)} of conversion on average, and {points_text(top)} among the "
            f"{percent(share)} with the highest uplift."
        )
    table = [
        f"| kind of shopper, as estimated | meaning | test {facts.units} | share |",
        "| --- | --- | ---: | ---: |",
        *(
            f"| {name} | {QUADRANTS[name]} | {count:,} | {percent(count / total, 1)} |"
            for name, count in facts.quadrant_counts.items()
        ),
        "",
    ]
    return ["## Whom to target", "", plan, "", *(table if total else [])]


def _expect(facts: UpliftFacts) -> list[str]:
    paid = "Those who buy anyway are paid for too. " if facts.config.policy.cost_per == "redemption" else ""
    rows = [f"| {RULES['treat none']} | 0 % | 0 | 0 | 0 | 0 | 0 | not defined |"]
    for rule, entry in _compared(facts):
        cells = [
            f"**{rule}**" if entry is facts.chosen else rule,
            percent(entry.share_percent / 100),
            f"{entry.targeted_sessions:,.0f}",
            _conversions(entry),
            money(entry.cost),
            money(entry.incremental_revenue),
            _profit(entry),
            _roi(entry),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return [
        "## What to expect",
        "",
        *([f"**{facts.marks}: nobody earned this money.**", ""] if facts.marks else []),
        f"Per {_period(facts)}, {_terms(facts)}; {percent(facts.config.policy.margin)} of revenue is "
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
        text += f" The chosen plan breaks even at a cost of {money(policy.break_even_cost)} per {_paid_per(facts)}."
    return text


def _certainty(facts: UpliftFacts) -> list[str]:
    texts = [_gain_verdict(facts), *_calibration(facts), *_placebo(facts), _arms(facts), *_truth(facts)]
    return [
        "## How sure we are",
        "",
        *(f"- {text}" for text in texts),
        "",
        *_simpler_rules(facts),
        *_rankings(facts),
    ]


def _gain_verdict(facts: UpliftFacts) -> str:
    chosen = facts.chosen
    if chosen is None:
        return "**Gain**: none was expected where the share is chosen, so none is claimed."
    if facts.earns:
        verdict = "more than chance: the whole profit interval is above 0"
    elif chosen.profit_ci_upper < 0:
        verdict = "none: the whole profit interval is below 0"
    else:
        verdict = "not shown: the profit interval includes 0"
    text = (
        f"**Gain**: {verdict} ({chosen.n_targeted_treatment:,} treated and {chosen.n_targeted_control:,} untreated "
        f"test {facts.units})."
    )
    if chosen.profit_ipw is None or chosen.profit_ipw_ci_lower is None or chosen.profit_ipw_ci_upper is None:
        return f"{text} A second method (inverse propensity) has too few {facts.units} for an interval."
    text += (
        " A second method (inverse propensity) puts the profit at "
        f"{money(chosen.profit_ipw, chosen.profit_ipw_ci_lower, chosen.profit_ipw_ci_upper)}"
    )
    return f"{text}." if facts.is_confirmed else f"{text}: it does not confirm this."


def _calibration(facts: UpliftFacts) -> list[str]:
    slope = facts.metric(LEARNER, "calibration_slope")
    error, floor = (facts.metric(LEARNER, f"calibration_error{name}") for name in ("", "_floor"))
    if facts.predicts_one_effect:
        return [
            "**Predicted uplift**: one effect for all; what tells shoppers apart is good for an order, not for sizes."
        ]
    if slope is None:
        return []
    if slope.ci_lower <= 0:
        verdict = "not confirmed: predictions without any value fit the data as well"
    elif slope.ci_upper < 1:
        verdict = "too bold: shoppers differ less than predicted"
    elif slope.ci_lower > 1:
        verdict = "too timid: shoppers differ more than predicted"
    else:
        verdict = "of the right size, as far as the data can tell"
    text = f"**Predicted uplift**: {verdict} (slope {metric_text(slope, 2)}, 1 is perfect)"
    if error:
        text += f"; mean error {points_text(error)}"
    if error and floor:
        text += f", of which chance alone makes {points_text(floor)}"
    return [f"{text}."]


def _placebo(facts: UpliftFacts) -> list[str]:
    placebo = facts.placebo_qini
    if placebo is None:
        return []
    is_real = Difference.of(placebo).is_real
    verdict = "0 IS OUTSIDE: be careful with the figures above" if is_real else "0 is inside, as it must be"
    return [f"**Placebo** (arms shuffled: nothing to find): Qini {metric_text(placebo)}; {verdict}."]


def _arms(facts: UpliftFacts) -> str:
    limit = facts.config.experiment.highest_mismatch_p
    sound = "as if drawn by lot" if _arms_are_sound(facts) else "NOT AS IF DRAWN BY LOT: no figure here can be trusted"
    text = f"**Arms**: {sound} (alarm below p = {limit:g}); "
    text += (
        "no share was designed, so their sizes were not tested"
        if facts.mismatch_p is None
        else f"their sizes against the design: p = {facts.mismatch_p:.3g}"
    )
    if facts.balance_worst is not None:
        name, difference, p = facts.balance_worst
        text += f"; they differ most in `{name}` (standardised difference {difference:.3f}, p = {p:.3g})"
    return f"{text}."


def _truth(facts: UpliftFacts) -> list[str]:
    if facts.pehe is None or facts.pehe_constant is None:
        return []
    verdict = "less than" if facts.pehe < facts.pehe_constant else "NOT LESS than"
    text = (
        f"**Estimated against true effects** (known, as simulated): typical error {_points(facts.pehe)} percentage "
        f"points, {verdict} the {_points(facts.pehe_constant)} of one average for all"
    )
    top = next((entry for entry in facts.own_deciles if entry.decile == 1), None)
    if top is not None and top.true_uplift is not None:
        text += (
            f"; best tenth: predicted {_points(top.predicted_uplift)}, measured {_points(top.observed_uplift)}, "
            f"true {_points(top.true_uplift)}"
        )
    return [f"{text}."]


def _simpler_rules(facts: UpliftFacts) -> list[str]:
    gains = [] if facts.chosen is None else facts.policy.gains
    rows = []
    for gain in gains:
        difference = Difference(gain.difference, gain.ci_lower, gain.ci_upper)
        cells = [
            RULES[gain.versus],
            money(gain.difference, gain.ci_lower, gain.ci_upper),
            difference.verdict("earns more", "EARNS LESS"),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    header = [
        "| simpler rule, at its own best share | the plan's profit minus its | the plan |",
        "| --- | ---: | --- |",
    ]
    return [*header, *rows, ""] if rows else []


def _rankings(facts: UpliftFacts) -> list[str]:
    own = facts.metric(LEARNER, "qini")
    if own is None:
        return []
    rows, better = [f"| {TITLES[LEARNER]} | {metric_text(own)} | | |"], []
    for name, title in TITLES.items():
        entry, difference = facts.metric(name, "qini"), ranking_difference(facts, name)
        if entry is None or difference is None:
            continue
        rows.append(
            f"| {title} | {metric_text(entry)} | {metric_text(difference)} | {difference.verdict('better', 'worse')} |"
        )
        if difference.ci_lower > 0:
            better.append(f"**{title} ranks better than the {TITLES[LEARNER]} by more than chance.**")
    verdict = " ".join(better) or f"No ranking is better than the {TITLES[LEARNER]} by more than chance."
    if own.ci_lower <= 0:
        verdict += f" The {TITLES[LEARNER]} itself is not shown to be better than random order."
    return [
        f"| ranking | Qini (0 is random order) | minus the {TITLES[LEARNER]}'s | it |",
        "| --- | ---: | ---: | --- |",
        *rows,
        "",
        verdict,
        "",
    ]


def _risks(facts: UpliftFacts) -> list[str]:
    chosen = facts.chosen
    risks = [
        f"Money: the figures hold {_terms(facts)}. The next table says what changes.",
        "Time: season, stock, prices and the offer must stay as they were, and shoppers get used to offers.",
        "What is not measured: purchases pulled forward from a later visit; shoppers who learn to wait for offers.",
    ]
    if facts.first_at is not None:
        risks.append("Visitors are browser ids: one person on two devices can be in both arms, which hides effects.")
    if facts.is_synthetic:
        risks.insert(0, "The visitors: a generator made them.")
    if facts.is_simulated:
        risks.insert(0, "The effects: they are assumptions in the settings. Real shoppers may react otherwise.")
    if chosen is not None:
        risks.append(
            f"Chance: the plan rests on {chosen.n_targeted:,} of {chosen.n_rows:,} test {facts.units}; the intervals "
            "say how much that can do."
        )
    return ["## What would make it wrong", "", *(f"- {risk}" for risk in risks), ""]


def _sensitivity(facts: UpliftFacts) -> list[str]:
    entries = {(entry.cost, entry.revenue_per_conversion): entry for entry in facts.policy.sensitivity}
    if not entries:
        return []
    revenues, policy = sorted({revenue for _, revenue in entries}), facts.config.policy
    # Values of their own move in proportion.
    by_value = policy.value_column is not None
    headers = [
        f"revenue x {revenue / policy.revenue_per_conversion:g}" if by_value else f"revenue {money(revenue)}"
        for revenue in revenues
    ]
    return [
        "## If cost or revenue were different",
        "",
        *([f"**{facts.marks}.**", ""] if facts.marks else []),
        f"Profit per {_period(facts)}, at the share chosen anew each time. Bold: the whole interval is above 0.",
        "",
        f"| cost per {_paid_per(facts)} | {' | '.join(headers)} |",
        f"| ---: |{' ---: |' * len(revenues)}",
        *(
            f"| {money(cost)} | {' | '.join(_cell(entries.get((cost, revenue))) for revenue in revenues)} |"
            for cost in sorted({cost for cost, _ in entries})
        ),
        "",
    ]


def _cell(entry: Sensitivity | None) -> str:
    if entry is None:
        return "not valued"
    if entry.share_percent == 0:
        return "treat nobody"
    text = f"{money(entry.profit, entry.profit_ci_lower, entry.profit_ci_upper)}"
    return f"{f'**{text}**' if entry.profit_ci_lower > 0 else text} at {entry.share_percent} %"


def _experiment(facts: UpliftFacts) -> list[str]:
    return ["## What experiment to run next", "", *_advice(facts), *_tests(facts), *_plans(facts)]


def _advice(facts: UpliftFacts) -> list[str]:
    settings, plan = facts.config.planner, facts.planned
    if plan is None:
        return []
    group, by_visitor = _group(facts, plan.share_percent), ", visitor by visitor," if facts.first_at else ""
    if plan.sessions_per_arm is None:
        return [f"No lift is expected in {group}, so no size follows from one{_shown_by_traffic(facts, plan)}.", ""]
    text = (
        f"Take {group}; draw by lot{by_visitor} which half gets the intervention: {_size(facts, plan)}. That shows the "
        f"expected lift of {_points(plan.expected_lift)} percentage points with {percent(settings.power)} power at the "
        f"{percent(settings.significance)} level."
    )
    if _takes_too_long(facts, plan):
        text += f" So long an experiment would measure another shop{_shown_by_traffic(facts, plan)}."
    return [text, ""]


def _tests(facts: UpliftFacts) -> list[str]:
    if not facts.tests:
        return []
    confidence = facts.config.evaluation.confidence
    lifts = [100 * test.measured_lift for test in facts.tests]
    lower, upper = np.quantile(lifts, [(1 - confidence) / 2, (1 + confidence) / 2])
    gain, loss = significant_shares(facts.tests)
    return [
        f"Played through {len(facts.tests):,} times on the estimated effects with {facts.tests[0].n_treatment:,} "
        f"{facts.units} in each arm, it showed a significant gain in {percent(gain, 1)} and a significant loss in "
        f"{percent(loss, 1)} of the runs; {facts.confidence} of them measured a lift of {lower:.2f} to {upper:.2f} "
        "percentage points.",
        "",
    ]


def _plans(facts: UpliftFacts) -> list[str]:
    if not facts.plans:
        return []
    first = facts.plans[0]
    header = [
        "share treated or not, by lot",
        "conversion untreated",
        "expected lift (points)",
        f"{facts.units} in each arm",
    ]
    if facts.first_at is not None:
        header += ["days", f"smallest lift {first.days_short} days show", f"smallest lift {first.days_long} days show"]
    rows = []
    for plan in facts.plans:
        size = UNDEFINED if plan.sessions_per_arm is None else f"{plan.sessions_per_arm:,}"
        cells = [f"{plan.share_percent} %", percent(plan.control_rate, 2), _points(plan.expected_lift), size]
        if facts.first_at is not None:
            days = UNDEFINED if plan.days_needed is None else f"{math.ceil(plan.days_needed):,}"
            cells += [days, _points(plan.smallest_lift_short), _points(plan.smallest_lift_long)]
        rows.append(f"| {' | '.join(cells)} |")
    return [f"| {' | '.join(header)} |", f"|{' ---: |' * len(header)}", *rows, ""]


def _points(lift: float | None) -> str:
    return UNDEFINED if lift is None else f"{round(100 * lift, 2) + 0:.2f}"


def _conversions(entry: Projection) -> str:
    return money(
        entry.incremental_conversions, entry.incremental_conversions_ci_lower, entry.incremental_conversions_ci_upper
    )


def _profit(entry: Projection) -> str:
    return money(entry.profit, entry.profit_ci_lower, entry.profit_ci_upper)


def _roi(entry: Projection) -> str:
    if entry.roi is None:
        return UNDEFINED
    if entry.roi_ci_lower is None or entry.roi_ci_upper is None:
        return f"{percent(entry.roi)} [{UNDEFINED}]"
    return f"{percent(entry.roi)} [{percent(entry.roi_ci_lower)} to {percent(entry.roi_ci_upper)}]"


def _group(facts: UpliftFacts, share_percent: int) -> str:
    some = f"the {share_percent} % of {facts.units} with the highest uplift"
    return f"all {facts.units}" if share_percent == 100 else some


def _terms(facts: UpliftFacts) -> str:
    policy = facts.config.policy
    worth = money(policy.revenue_per_conversion)
    if policy.value_column is not None:
        worth = f"`{policy.value_column}` (else {worth})"
    return f"at a cost of {money(policy.cost)} per {_paid_per(facts)} and a revenue of {worth} per conversion"


def _paid_per(facts: UpliftFacts) -> str:
    by_redemption = facts.config.policy.cost_per == "redemption"
    return "conversion of the treated" if by_redemption else f"treated {facts.units.removesuffix('s')}"


def _period(facts: UpliftFacts) -> str:
    everybody = facts.projection("random", 100)
    eligible = f"{everybody.eligible_sessions:,.0f} eligible {facts.units}" if everybody else f"eligible {facts.units}"
    return f"{facts.config.policy.horizon_days:g} days ({eligible})" if facts.first_at is not None else eligible
