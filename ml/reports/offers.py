"""What offers do and whom to make them to, in words: the page, the figures behind it, and the lines on the screen."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ml.config import Config
from ml.experiment.file import Columns
from ml.experiment.offers import OfferExperiment
from ml.files import write_json
from ml.policy.offers import BEST, EVERYBODY, NOBODY, Policy, PolicyTotals, holm
from ml.reports.average import arms_text, average_section, sentence, warnings_of
from ml.reports.wording import money, significant
from ml.run import Stamp
from ml.uplift.metrics import UpliftMetric
from ml.uplift.offers import Costs

HALF = 0.05


@dataclass(frozen=True)
class OfferFacts:
    """Everything that the page of an experiment with money or several offers speaks of.

    `policy` and `totals` are None and empty where nothing could be learnt, which `left_out` explains by offer.
    `eligible` counts the sessions of the horizon; None where all is said of the rows of a file.
    """

    config: Config
    columns: Columns
    stamp: Stamp
    source: str
    rows: int
    offers: Sequence[OfferExperiment]
    costs: Costs
    left_out: Mapping[str, str]
    notes: Sequence[str]
    policy: Policy | None = None
    totals: Sequence[PolicyTotals] = ()
    eligible: float | None = None

    @property
    def scope(self) -> str:
        """What totals are stated for."""
        if self.eligible is None:
            return f"{self.rows:,} rows"
        return f"{self.eligible:,.0f} sessions in {self.config.policy.horizon_days:g} days"

    @property
    def unit(self) -> str:
        """What may be treated."""
        return "row" if self.eligible is None else "session"

    @property
    def marks(self) -> str:
        """What is made up, in capitals; blank where nothing is."""
        marks = [("SIMULATED EFFECTS", self.stamp.is_simulated), ("SYNTHETIC DATA", self.stamp.is_synthetic)]
        return ", ".join(mark for mark, is_so in marks if is_so)

    @property
    def corrected(self) -> list[float]:
        """The offers' p-values, corrected by Holm for their number."""
        return holm([offer.main.p_value for offer in self.offers])

    @property
    def control(self) -> str:
        """What the control is called."""
        return self.columns.arms[0]

    @property
    def outcome(self) -> str:
        """What the outcome is called: of who spends at all, that."""
        columns = self.columns
        return f"{columns.outcome} above 0" if columns.value == columns.outcome else columns.outcome

    @property
    def chosen(self) -> PolicyTotals | None:
        """What the chosen policy earns; None where that is nobody."""
        return next((entry for entry in self.totals if entry.is_chosen and entry.name != NOBODY), None)

    @property
    def level(self) -> str:
        """Level of the intervals."""
        return f"{100 * self.config.evaluation.confidence:g} %"

    @property
    def metrics(self) -> list[UpliftMetric]:
        """Average effects as rows of the table of metrics; of several offers, each under its name."""
        found = []
        for offer, corrected in zip(self.offers, self.corrected, strict=True):
            average = offer.found.average
            who = (offer.name, self.control) if len(self.offers) > 1 else ("all", "")
            entries = average.entries | (offer.value.entries if offer.value else {})
            found += [UpliftMetric(*who, name, *entry, *average.rows) for name, entry in entries.items()]
            if len(self.offers) > 1:
                found.append(UpliftMetric(*who, "holm_p", corrected, corrected, corrected, *average.rows))
        return found


def answer_of(facts: OfferFacts) -> str:
    """Say in a few sentences what to do."""
    if facts.policy is None:
        reasons = "; ".join(f"{name}: {why}" for name, why in facts.left_out.items())
        return f"Whom to make an offer cannot be learnt ({reasons}). {_best_average(facts)}"
    chosen = facts.chosen
    if chosen is None:
        return (
            "Do not spend: treat nobody. No offer, to all or to whom it suits best, is expected to earn more than it "
            f"costs. {_best_average(facts)}"
        )
    given = ", ".join(f"{name} to {count:,.0f}" for name, count in chosen.treated.items() if count >= HALF)
    what = f"{given} of {facts.scope} would bring a profit of {_interval(chosen.profit)}"
    if chosen.profit[2] < 0:
        return f"Do not spend: the best policy found loses money. It would give {what}."
    doubted = [offer.name for offer in facts.offers if _is_doubted(facts, offer)]
    if doubted:
        return (
            f"Do not spend yet: the arms differ by more than chance ({', '.join(doubted)}). {what}, if that were real."
        )
    if chosen.profit[1] <= 0:
        return f"Do not spend yet: it is not shown that an offer earns anything. {what}, and that interval includes 0."
    return (
        f"Make the offers: {what}. {_compared(chosen)}Leave a random part of them without, so the gain stays measured."
    )


def _is_doubted(facts: OfferFacts, offer: OfferExperiment) -> bool:
    randomisation, highest = offer.found.randomisation, facts.config.experiment.highest_mismatch_p
    ratio_p = 1.0 if randomisation.ratio_p is None else randomisation.ratio_p
    return min(ratio_p, randomisation.worst_p) < highest


def _compared(chosen: PolicyTotals) -> str:
    if chosen.against_single is None:
        return ""
    value, lower, upper = chosen.against_single
    shown = "more" if lower > 0 else "less" if upper < 0 else "not shown to be more"
    return f"Against the best single offer for all that is {_interval((value, lower, upper))}, {shown}. "


def _best_average(facts: OfferFacts) -> str:
    texts = []
    for offer in facts.offers:
        value, lower, upper = offer.main.effect
        what = facts.columns.value if offer.value else facts.outcome
        change = "raises" if lower > 0 else "lowers" if upper < 0 else "is not shown to change"
        figures = [significant(number, "+") for number in (value, lower, upper)]
        texts.append(f"{_title(facts, offer)} {change} {what} ({figures[0]} [{figures[1]}, {figures[2]}] each)")
    return f"{'; '.join(texts)}."


def _title(facts: OfferFacts, offer: OfferExperiment) -> str:
    return f"Offer {offer.name}" if len(facts.offers) > 1 else "The treatment"


def lines_of(facts: OfferFacts) -> list[str]:
    """Say what was found, for whoever started the run."""
    first = facts.offers[0].found
    left_out = "".join(f" {count:,} rows with {value!r} were left out." for value, count in first.other_arms.items())
    lines = [
        f"{facts.marks}{': ' if facts.marks else ''}{facts.source}: {facts.rows:,} of {first.rows_read:,} "
        f"{facts.unit}s.{left_out}",
        *(f"Column {name} is no feature: {reason}." for name, reason in first.dropped.items()),
        *map(sentence, _warnings(facts)),
    ]
    for offer, corrected in zip(facts.offers, facts.corrected, strict=True):
        found = [(facts.outcome, offer.found.average)]
        found += [(str(facts.columns.value), offer.value.average)] if offer.value else []
        several = f", p = {corrected:.3g} after Holm" if len(facts.offers) > 1 else ""
        for what, average in found:
            value, lower, upper = average.effect
            p_value = several if average is offer.main else ""
            lines.append(
                f"{_title(facts, offer)}: average effect on {what} {value:+.4f} [{lower:+.4f}, {upper:+.4f}], treated "
                f"minus control{p_value}."
            )
    lines += [f"Offer {name} is given to nobody: {why}." for name, why in facts.left_out.items()]
    return [*lines, answer_of(facts), f"Files: {facts.config.results}/ (recommendations.md, metrics/, predictions/)."]


def _warnings(facts: OfferFacts) -> list[str]:
    each = [(offer.name, text) for offer in facts.offers for text in warnings_of(offer.found)]
    counts = {text: sum(text == other for _, other in each) for _, text in each}
    several = len(facts.offers) > 1
    told = [
        f"{name} against {facts.control}: {text}" if several and counts[text] < len(facts.offers) else text
        for name, text in each
    ]
    return list(dict.fromkeys([*told, *facts.notes]))


def write_offers(folder: Path, facts: OfferFacts) -> None:
    """Write the page and every number behind it.

    Parameters
    ----------
    folder : Path
        The run's folder.
    facts : OfferFacts
        Everything they speak of.
    """
    (folder / "recommendations.md").write_text("\n".join(_page(facts)), encoding="utf-8")
    write_json(
        folder / "metrics" / "uplift_metrics.json",
        {
            "run_id": facts.stamp.run_id,
            "model_version": facts.stamp.model_version,
            "source": facts.source,
            "is_simulated": facts.stamp.is_simulated,
            "is_synthetic": facts.stamp.is_synthetic,
            "left_out": dict(facts.left_out),
            "warnings": _warnings(facts),
            "metrics": [asdict(entry) for entry in facts.metrics],
            "costs": asdict(facts.costs),
            "budget": facts.config.policy.budget,
            "policy": None if facts.policy is None else asdict(facts.policy),
            "policies": [asdict(entry) for entry in facts.totals],
        },
    )


def _page(facts: OfferFacts) -> list[str]:
    lines = [
        *_made_up(facts),
        "# Recommendations: which offer to whom" if len(facts.offers) > 1 else "# Recommendations: whom to treat",
        "",
        f"Run `{facts.stamp.run_id}`, {facts.stamp.scored_at:%Y-%m-%d %H:%M} UTC. From: {facts.source}.",
        "",
        "## The answer",
        "",
        f"**{answer_of(facts)}**",
        "",
        *_policies(facts),
        *_averages(facts),
        "## How sure we are",
        "",
        *(f"- {_title(facts, offer)}: {arms_text(offer.found)}" for offer in facts.offers),
        *(f"- {sentence(text)}" for text in _warnings(facts)),
        *(f"- Offer {name} is given to nobody: {why}." for name, why in facts.left_out.items()),
        "",
    ]
    return lines


def _made_up(facts: OfferFacts) -> list[str]:
    what = []
    if facts.stamp.is_simulated:
        what.append("Nobody was treated: the effects are assumed in the settings, so no gain below was measured.")
    if facts.stamp.is_synthetic:
        what.append("The visitors are made up: nothing below describes a real shop.")
    return [f"> **{facts.marks}.** {' '.join(what)}", ""] if what else []


def _policies(facts: OfferFacts) -> list[str]:
    if facts.policy is None:
        return []
    names = list(facts.totals[0].treated)
    rows = []
    for entry in facts.totals:
        cells = [
            f"**{entry.name}**" if entry.is_chosen else entry.name,
            *(f"{entry.treated[name]:,.0f}" for name in names),
            _interval(entry.conversions),
            money(entry.cost),
            _interval(entry.revenue),
            _interval(entry.profit),
            "" if entry.against_single is None else _interval(entry.against_single),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    budget, cut = facts.config.policy.budget, [entry for entry in facts.totals if entry.reach < 1]
    header = ["policy", *names, "extra conversions", "cost", "extra revenue", "profit", "against the best single offer"]
    chosen = facts.chosen
    capped = [] if chosen is None or facts.columns.value is None else [
        f"With the highest amount in a hundred cut, the chosen policy's profit is {_interval(chosen.capped_profit)}.",
        "",
    ]  # fmt: skip
    return [
        "## What to expect",
        "",
        f"For {facts.scope}, {_terms(facts)}"
        f"{'' if budget is None else f', within a budget of {money(budget)}'}. Chosen on one part of the data (bold), "
        f"valued on another by doubly robust scores; {facts.level} intervals resample visitors.",
        "",
        f"| {' | '.join(header)} |",
        f"| --- |{' ---: |' * (len(header) - 1)}",
        *rows,
        "",
        *capped,
        *_price(facts.policy),
        *([_cut_short(cut), ""] if cut else []),
    ]


def _price(policy: Policy) -> list[str]:
    if policy.kind == EVERYBODY:
        return [f"The budget reaches {policy.share:.0%} of all, drawn by lot.", ""] if policy.share < 1 else []
    if policy.kind != BEST or policy.price == 0:
        return []
    return [f"The budget is used up where a unit of money spent brings {policy.price:.3g} more than itself.", ""]


def _cut_short(entries: Sequence[PolicyTotals]) -> str:
    """Say which policies would have spent more than the budget where they were valued."""
    named = ", ".join(f"{entry.name} ({entry.reach:.0%})" for entry in entries)
    return f"By the rows that value them, the budget ends before these policies do; the share it pays for: {named}."


def _terms(facts: OfferFacts) -> str:
    costs, several = facts.costs, len(facts.offers) > 1
    texts = []
    for place, offer in enumerate(facts.offers):
        parts = [
            (costs.contact[place], f"{{}} per {facts.unit} treated"),
            (costs.redemption[place], "{} per conversion of the treated"),
            (100 * costs.basket[place], "{} % of what they spend"),
            (costs.fixed[place], "{} once"),
        ]
        paid = " and ".join(text.format(money(amount)) for amount, text in parts if amount) or "nothing"
        texts.append(f"{offer.name} costs {paid}" if several else f"treating costs {paid}")
    worth = (
        f"`{facts.columns.value}` is money"
        if facts.columns.value
        else f"a conversion brings {money(facts.config.policy.revenue_per_conversion)}"
    )
    return f"{'; '.join(texts)}; {worth}, of which {100 * costs.margin:g} % is kept"


def _averages(facts: OfferFacts) -> list[str]:
    lines = []
    for offer, corrected in zip(facts.offers, facts.corrected, strict=True):
        found = [(facts.outcome, offer.found.average)]
        found += [(str(facts.columns.value), offer.value.average)] if offer.value else []
        for what, average in found:
            title, *section = average_section(average, facts.level)
            name = f" of {offer.name}" if len(facts.offers) > 1 else ""
            lines += [f"{title}{name} on {what}", *section]
        if offer.value is not None:
            lines += [*_robust(offer), ""]
        if len(facts.offers) > 1:
            lines += [f"After Holm's correction for {len(facts.offers)} offers: p = {corrected:.3g}.", ""]
    return lines


def _robust(offer: OfferExperiment) -> list[str]:
    value = offer.value
    if value is None:
        return []
    text = f"With amounts cut at {money(value.cut)}: {_signed(value.winsorised.effect)}."
    if value.bootstrap is not None:
        text += f" By a bootstrap of units: {_signed((value.average.effect[0], *value.bootstrap))}."
    return [text]


def _signed(entry: tuple[float, float, float]) -> str:
    value, lower, upper = (significant(number, "+") for number in entry)
    return f"{value} [{lower} to {upper}]"


def _interval(entry: tuple[float, float, float]) -> str:
    return money(*entry)
