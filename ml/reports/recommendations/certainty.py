"""How sure we are."""

from ml.reports.facts import Difference, UpliftFacts
from ml.reports.recommendations.doubts import arms_are_sound
from ml.reports.recommendations.phrases import points
from ml.reports.wording import RULES, metric_text, money, points_text, ranking_difference
from ml.uplift.names import CHOSEN, MEAN, T_LEARNER, TITLES


def certainty(facts: UpliftFacts) -> list[str]:
    """Say how sure the gain, the predictions, the arms and the ranking are."""
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
        f"{facts.units})."
    )
    if chosen.profit_ipw is None or chosen.profit_ipw_ci_lower is None or chosen.profit_ipw_ci_upper is None:
        return f"{text} A second method (inverse propensity) has too few {facts.units} for an interval."
    text += (
        " A second method (inverse propensity) puts the profit at "
        f"{money(chosen.profit_ipw, chosen.profit_ipw_ci_lower, chosen.profit_ipw_ci_upper)}"
    )
    return f"{text}." if facts.is_confirmed else f"{text}: it does not confirm this."


def _calibration(facts: UpliftFacts) -> list[str]:
    slope = facts.metric(CHOSEN, "calibration_slope")
    error, floor = (facts.metric(CHOSEN, f"calibration_error{name}") for name in ("", "_floor"))
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
    return [f"**Placebo** (permuted arms: nothing to find): Qini {metric_text(placebo)}; {verdict}."]


def _arms(facts: UpliftFacts) -> str:
    limit = facts.config.experiment.highest_mismatch_p
    if not arms_are_sound(facts):
        sound = "NOT AS IF DRAWN BY LOT: no figure here can be trusted"
    elif facts.mismatch_p is None:
        sound = "their features differ no more than chance explains, but whether rows of one arm were lost is not known"
    else:
        sound = "as if drawn by lot"
    text = f"**Arms**: {sound} (alarm below p = {limit:g}); "
    text += (
        "the designed share was not told (--treated-share), so their sizes were not tested"
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
        f"**Estimated against true effects** (known, as simulated): typical error {points(facts.pehe)} percentage "
        f"points, {verdict} the {points(facts.pehe_constant)} of one average for all"
    )
    top = next((entry for entry in facts.own_deciles if entry.decile == 1), None)
    if top is not None and top.true_uplift is not None:
        text += (
            f"; best decile: predicted {points(top.predicted_uplift)}, measured {points(top.observed_uplift)}, "
            f"true {points(top.true_uplift)}"
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
    own = facts.metric(CHOSEN, "qini")
    if own is None:
        return []
    title = facts.title
    rows, better = [f"| **{title}** | {metric_text(own)} | | the plan's |"], []
    for name, other in TITLES.items():
        entry, difference = facts.metric(name, "qini"), ranking_difference(facts, name)
        if name == facts.learner or entry is None or difference is None:
            continue
        verdict = difference.verdict("better", "worse")
        rows.append(f"| {other} | {metric_text(entry)} | {metric_text(difference)} | {verdict} |")
        if difference.ci_lower > 0:
            better.append(f"**{other} ranks better than the plan's by more than chance.**")
    verdict = " ".join(better) or "No ranking is better than the plan's by more than chance."
    if own.ci_lower <= 0:
        verdict += " The plan's itself is not shown to be better than random order."
    return [
        f"| ranking | Qini (0 is random order) | minus the plan's ({title}) | it |",
        "| --- | ---: | ---: | --- |",
        *rows,
        "",
        verdict,
        "",
        *_choice(facts),
    ]


def _choice(facts: UpliftFacts) -> list[str]:
    """Say by what the ranking was chosen; the test split had no part in it."""
    if len(facts.comparison) < 2:
        return []
    beside = f" The {TITLES[T_LEARNER]} stands beside." if facts.learner != T_LEARNER else ""
    rule = (
        "those that are not shown to be worse than the best, by two standard errors, have a part in it"
        if facts.learner == MEAN
        else "the simplest that is not worse than the best by more than one standard error"
    )
    return [
        f"**{facts.title}** ranks. It was chosen on the rows that were learnt from: {rule}.{beside}",
        "",
        "| candidate, the simplest first | explained | less than the best | why |",
        "| --- | ---: | ---: | --- |",
        *(
            f"| {'**' if entry.is_chosen else ''}{TITLES[entry.learner]}{'**' if entry.is_chosen else ''} "
            f"| {entry.gain:.2f} ± {entry.gain_se:.2f} | {entry.behind_best:.2f} ± {entry.behind_best_se:.2f} "
            f"| {entry.reason} |"
            for entry in facts.comparison
        ),
        "",
        "Explained: squared error of the predicted effect that a ranking saves, in squared percentage points, ± one "
        "standard error.",
        "",
    ]
