"""The page for the reader who decides: its numbers, its warnings, when it advises to spend; and its figures."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import uplift_facts
from ml.bootstrap import Bootstrap
from ml.experiment.arms import Arms
from ml.policy import ab_test, planner, quadrants, values
from ml.policy.estimates import Scored
from ml.policy.gains import CHALLENGERS, Gain
from ml.policy.groups import GroupsValue, UpliftGroup
from ml.policy.whom import Whom
from ml.reports import facts as fact_sheet
from ml.reports import wording
from ml.reports.facts import UpliftFacts
from ml.reports.findings import differences
from ml.reports.recommendations.page import recommendations
from ml.reports.uplift_figures.draw import draw_uplift_figures
from ml.reports.wording import metric_text, money, percent, significant
from ml.uplift.metrics import UpliftMetric
from ml.uplift.names import TITLES
from ml.uplift.profile import UpliftFeature

FIGURES = ["qini.png", "uplift_deciles.png", "uplift_calibration.png", "roi_curve.png", "experiment_planner.png"]
NO_TIME: dict[str, Any] = {"first_at": None, "last_at": None, "funnel": None, "units": "customers"}
SPEND = "**Treat "


@pytest.fixture(scope="module")
def win() -> UpliftFacts:
    return uplift_facts.build("win", simulated=False)


def page(facts: UpliftFacts) -> str:
    return recommendations(facts)


def section(text: str, heading: str) -> str:
    return text.split(f"## {heading}\n")[1].split("\n## ")[0].strip()


def table(text: str, first_heading: str) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of the table whose first heading starts as told."""
    lines = text.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(f"| {first_heading}"))
    rows = []
    for line in [lines[start], *lines[start + 2 :]]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[0], rows[1:]


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)]


def assert_shows(cell: str, *values: float) -> None:
    """The cell's numbers are these values to the digits shown, and there is no other."""
    shown = re.findall(r"-?\d[\d,]*(?:\.\d+)?", cell)
    assert len(shown) == len(values), cell
    for text, value in zip(shown, values, strict=True):
        digits = len(text.partition(".")[2])
        assert float(text.replace(",", "")) == pytest.approx(value, abs=0.5000001 * 10**-digits, rel=0), cell


def with_profit(facts: UpliftFacts, lower: float, upper: float) -> UpliftFacts:
    """The facts with another profit interval of the chosen plan."""
    changed = [
        replace(p, profit=(lower + upper) / 2, profit_ci_lower=lower, profit_ci_upper=upper) if p is facts.chosen else p
        for p in facts.policy.projections
    ]
    return replace(facts, policy=replace(facts.policy, projections=changed))


def with_policy(facts: UpliftFacts, **changes: Any) -> UpliftFacts:
    return replace(facts, policy=replace(facts.policy, **changes))


def with_money(facts: UpliftFacts, **changes: Any) -> UpliftFacts:
    policy_settings = facts.config.policy.model_copy(update=changes)
    return replace(facts, config=facts.config.model_copy(update={"policy": policy_settings}))


# --- every number of the tables comes from the facts


@pytest.mark.parametrize("case", uplift_facts.CASES)
@pytest.mark.parametrize("changes", [{}, NO_TIME], ids=["timed", "no time"])
def test_numbers_of_the_tables_are_the_facts(case: str, changes: dict[str, Any]) -> None:
    assert_tables_are(uplift_facts.build(case, **changes))


def test_what_policy_and_planner_return_is_said_and_drawn(win: UpliftFacts, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    splits = []
    for rows in (30_000, 60_000):
        arm, score = rng.integers(0, 2, rows), rng.random(rows)
        control = 0.02 + 0.06 * rng.random(rows)
        treated = control + 0.08 * np.maximum(score - 0.7, 0) - 0.004
        outcome = (rng.random(rows) < np.where(arm == 1, treated, control)).astype(np.int8)
        ranks = {"uplift": score, "response": np.argsort(np.argsort(control)) / rows}
        arms = Arms(arm.astype(np.int8), outcome, np.arange(rows, dtype=np.int32))
        splits.append(Scored(arms, control, treated, ranks, np.full(rows, 50.0)))
    value = values.value_policies(*splits, win.config.policy, 45_000.5, Bootstrap(60, 0.95, seed=1))
    plans = planner.experiment_plan(splits[1], 1_500.25, win.config.planner)
    plan = next(plan for plan in plans if plan.share_percent == 20)
    rates = plan.control_rate, plan.control_rate + plan.expected_lift
    tests = ab_test.ab_test_simulation(*rates, plan.sessions_per_arm or 1, win.config.planner, 1)
    facts = replace(win, policy=value, plans=plans, tests=tests, tested_share=20)
    assert 0 < value.chosen["uplift"] < 100
    assert_tables_are(facts)
    assert len(draw_uplift_figures(tmp_path, facts)) == len(FIGURES)


def assert_tables_are(facts: UpliftFacts) -> None:
    text, seen = page(facts), 0

    _, rows = table(text, "kind of shopper")
    total = sum(facts.quadrant_counts.values())
    for row, (name, count) in zip(rows, facts.quadrant_counts.items(), strict=True):
        assert row[0] == name
        assert_shows(row[2], count)
        assert_shows(row[3], 100 * count / total)
        seen += 1

    _, rows = table(text, "rule |")
    assert rows[0] == ["treat nobody", "0 %", "0", "0", "0", "0", "0", "not defined"]
    strategies = {"everybody": "random", "random": "random", "buyers": "response", "uplift": "uplift"}
    for row in rows[1:]:
        strategy = next(strategy for word, strategy in strategies.items() if word in row[0])
        entry = facts.projection(strategy, int(numbers(row[1])[0]))
        assert entry is not None
        assert entry.roi is not None
        assert entry.roi_ci_lower is not None
        assert entry.roi_ci_upper is not None
        assert_shows(row[2], entry.targeted_sessions)
        bounds = entry.incremental_conversions_ci_lower, entry.incremental_conversions_ci_upper
        assert_shows(row[3], entry.incremental_conversions, *bounds)
        assert_shows(row[4], entry.cost)
        assert_shows(row[5], entry.incremental_revenue)
        assert_shows(row[6], entry.profit, entry.profit_ci_lower, entry.profit_ci_upper)
        assert_shows(row[7], 100 * entry.roi, 100 * entry.roi_ci_lower, 100 * entry.roi_ci_upper)
        seen += 1
    if facts.chosen:
        assert [row[0] for row in rows[1:]] == [
            "treat everybody",
            "at random",
            "most likely buyers first",
            "**highest uplift first**",
        ]
        assert {int(numbers(row[1])[0]) for row in rows[2:]} == {facts.chosen.share_percent}

        _, rows = table(text, "simpler rule")
        for row, gain in zip(rows, facts.policy.gains, strict=True):
            assert_shows(row[1], gain.difference, gain.ci_lower, gain.ci_upper)
            assert row[2] == verdict(gain.ci_lower, gain.ci_upper, "earns more", "EARNS LESS")
            seen += 1

    _, rows = table(text, "ranking")
    metrics = {(m.learner, m.versus): m for m in facts.metrics if m.metric == "qini"}
    for row, learner in zip(rows, uplift_facts.LEARNERS, strict=True):
        own = metrics[learner, ""]
        assert_shows(row[1], own.value, own.ci_lower, own.ci_upper)
        if learner != "t_learner":
            difference = metrics[learner, "chosen"]
            assert_shows(row[2], difference.value, difference.ci_lower, difference.ci_upper)
            assert row[3] == verdict(difference.ci_lower, difference.ci_upper, "better", "worse")
        seen += 1

    _, rows = table(text, "candidate, the simplest first")
    for row, entry in zip(rows, facts.comparison, strict=True):
        assert_shows(row[1], entry.gain, entry.gain_se)
        assert_shows(row[2], entry.behind_best, entry.behind_best_se)
        assert (row[0], row[3]) == (
            f"**{TITLES[entry.learner]}**" if entry.is_chosen else TITLES[entry.learner],
            entry.reason,
        )
        seen += 1

    header, rows = table(text, "cost per")
    cells = {(s.cost, s.revenue_per_conversion): s for s in facts.policy.sensitivity}
    for row in rows:
        for heading, cell in zip(header[1:], row[1:], strict=True):
            entry = cells.pop((numbers(row[0])[0], numbers(heading)[0]))
            if entry.share_percent == 0:
                assert cell == "treat nobody"
            else:
                share = entry.share_percent
                assert_shows(cell, entry.profit, entry.profit_ci_lower, entry.profit_ci_upper, share)
                assert cell.startswith("**") == (entry.profit_ci_lower > 0)
        seen += 1
    assert not cells

    _, rows = table(text, "share treated or not")
    for row, plan in zip(rows, facts.plans, strict=True):
        assert_shows(row[0], plan.share_percent)
        assert_shows(row[1], 100 * plan.control_rate)
        assert_shows(row[2], 100 * plan.expected_lift)
        assert_shows(row[3], *([] if plan.sessions_per_arm is None else [plan.sessions_per_arm]))
        if facts.first_at is not None:
            assert_shows(row[4], *([] if plan.days_needed is None else [np.ceil(plan.days_needed)]))
            assert_shows(row[5], 100 * (plan.smallest_lift_short or 0))
            assert_shows(row[6], 100 * (plan.smallest_lift_long or 0))
        else:
            assert len(row) == 4
        seen += 1
    # No row of any table was left out; one says that treating nobody brings nothing.
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert seen + 1 == len(lines) - 2 * sum("---" in line for line in lines)


def verdict(lower: float, upper: float, above: str, below: str) -> str:
    return above if lower > 0 else below if upper < 0 else "no difference shown"


def test_the_answer_and_the_text_repeat_the_facts(win: UpliftFacts) -> None:
    text, chosen, plan = page(win), win.chosen, win.planned
    assert chosen is not None
    assert plan is not None
    first, second, _ = sentences(section(text, "The answer"))
    assert_shows(first, chosen.share_percent, chosen.targeted_sessions, win.config.policy.horizon_days)
    bounds = chosen.incremental_conversions_ci_lower, chosen.incremental_conversions_ci_upper
    profit = chosen.profit, chosen.profit_ci_lower, chosen.profit_ci_upper
    assert_shows(second, chosen.incremental_conversions, *bounds, *profit)

    funnel = win.funnel
    assert funnel is not None
    step, lost, period = sentences(section(text, "Where shoppers drop off"))
    assert_shows(step, funnel.entered, funnel.dropped_off, 100 * funnel.dropoff_rate)
    assert_shows(lost, funnel.revenue_lost)
    assert period.startswith(f"({funnel.sessions:,} sessions, {funnel.first_at} to {funnel.last_at}")

    advice, played = section(text, "What experiment to run next").split("\n\n")[:2]
    settings = win.config.planner
    size = plan.share_percent, plan.sessions_per_arm or 0, np.ceil(plan.days_needed or 0)
    assert_shows(advice, *size, 100 * plan.expected_lift, 100 * settings.power, 100 * settings.significance)
    lifts = sorted(100 * test.measured_lift for test in win.tests)
    gain, loss = (
        100 * np.mean([t.is_significant and t.measured_lift * sign > 0 for t in win.tests]) for sign in (1, -1)
    )
    bounds = np.quantile(lifts, 0.025), np.quantile(lifts, 0.975)
    assert_shows(played, 1000, win.tests[0].n_treatment, gain, loss, 95, *bounds)


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])\**\s+", text)


@pytest.mark.parametrize("case", uplift_facts.CASES)
@pytest.mark.parametrize("simulated", [True, False])
@pytest.mark.parametrize(
    "changes", [{}, NO_TIME, {"tested_share": None, "tests": []}], ids=["timed", "untimed", "none"]
)
def test_the_answer_has_three_sentences(case: str, simulated: bool, changes: dict[str, Any]) -> None:
    text = page(uplift_facts.build(case, simulated, **changes))
    assert len(sentences(section(text, "The answer"))) == 3


# --- simulated and synthetic


@pytest.mark.parametrize("case", uplift_facts.CASES)
@pytest.mark.parametrize("simulated", [True, False])
@pytest.mark.parametrize("synthetic", [True, False])
def test_what_is_made_up_is_said_first_and_with_the_money(case: str, simulated: bool, synthetic: bool) -> None:
    text = page(uplift_facts.build(case, simulated, synthetic))
    for words, holds in {"SIMULATED EFFECTS": simulated, "SYNTHETIC DATA": synthetic}.items():
        assert (words in text.splitlines()[0]) == holds
        for heading in ("What to expect", "If cost or revenue were different"):
            assert (words in section(text, heading).split("|")[0]) == holds
        assert text.count(words) == (3 if holds else 0)
    assert ("true effects" in text) == simulated
    assert text.splitlines()[0].startswith("> **") == (simulated or synthetic)


# --- when to spend


@given(
    lower=st.floats(-1e6, 1e6),
    width=st.floats(0, 1e6),
    case=st.sampled_from(sorted(uplift_facts.CASES)),
    simulated=st.booleans(),
    synthetic=st.booleans(),
    mismatch_p=st.sampled_from([0.4, 0.0009]),
    placebo=st.sampled_from([None, (-0.02, 0.02), (0.001, 0.04), (-0.04, -0.001)]),
)
@settings(max_examples=150, deadline=None)
def test_money_is_advised_only_on_a_measured_and_significant_gain(
    lower: float,
    width: float,
    case: str,
    simulated: bool,
    synthetic: bool,
    mismatch_p: float,
    placebo: tuple[float, float] | None,
) -> None:
    facts = built(case, simulated, synthetic)
    facts = with_profit(facts, lower, lower + width)
    qini = None
    if placebo and facts.placebo_qini:
        qini = replace(facts.placebo_qini, value=sum(placebo) / 2, ci_lower=placebo[0], ci_upper=placebo[1])
    facts = replace(facts, mismatch_p=mismatch_p, placebo_qini=qini)
    text = page(facts)
    sound = mismatch_p > 0.001 and not (placebo and placebo[0] > 0)
    spend = case != "nothing" and lower > 0 and sound and not simulated and not synthetic
    answer = section(text, "The answer")
    assert answer.startswith(SPEND if spend else "**Do not spend")
    assert ("Run the experiment first" in answer or "Run an experiment first" in answer) != spend
    if not spend:
        # Nothing else on the page says otherwise.
        assert "**Treat" not in text
        assert "\nThe plan: " not in text
        for match in re.finditer("spend", text):
            assert text[: match.start()].endswith(("Do not ", "no advice to "))


def built(case: str, simulated: bool, synthetic: bool, known: dict[Any, UpliftFacts] = {}) -> UpliftFacts:  # noqa: B006
    key = (case, simulated, synthetic)
    if key not in known:
        known[key] = uplift_facts.build(*key)
    return known[key]


def test_why_not_to_spend_is_said(win: UpliftFacts) -> None:
    assert "do not look as if they were drawn by lot" in section(page(replace(win, mismatch_p=1e-5)), "The answer")
    assert "NOT AS IF DRAWN BY LOT" in page(replace(win, mismatch_p=1e-5))
    unbalanced = page(replace(win, balance_worst=("item_price_ratio", 0.2, 1e-5)))
    assert section(unbalanced, "The answer").startswith("**Do not spend")
    assert "NOT AS IF DRAWN BY LOT" in unbalanced
    untested = page(replace(win, mismatch_p=None))
    assert section(untested, "The answer").startswith(SPEND)
    assert "so their sizes were not tested" in untested
    assert win.placebo_qini is not None
    found = replace(win, placebo_qini=replace(win.placebo_qini, ci_lower=0.001))
    assert "the placebo check finds an effect" in section(page(found), "The answer")
    assert "0 IS OUTSIDE" in page(found)
    assert "includes 0" in section(page(with_profit(win, -1, 100)), "The answer")
    assert "loses money" in section(page(with_profit(win, -100, -1)), "The answer")
    assert "no share of sessions is expected to earn" in page(uplift_facts.build("nothing", simulated=False))


def test_an_experiment_of_more_than_a_year_is_not_advised() -> None:
    facts = uplift_facts.build("nothing")
    plan = facts.planned
    assert plan is not None
    assert plan.days_needed is not None
    assert plan.days_needed > 365
    answer = sentences(section(page(facts), "The answer"))[-1]
    assert answer.startswith("Run an experiment first, with a stronger intervention")
    assert_shows(answer, plan.days_long, 100 * (plan.smallest_lift_long or 0))
    shorter = replace(facts, plans=[replace(p, days_needed=364.2) for p in facts.plans])
    assert "365 days at today's traffic" in section(page(shorter), "The answer")


def test_without_an_expected_lift_another_intervention_is_advised() -> None:
    assert "Run an experiment first, with another intervention: 28 days" in page(uplift_facts.build("loses"))


# --- challengers


@pytest.mark.parametrize("turned", [False, True], ids=["challenger minus chosen", "chosen minus challenger"])
@pytest.mark.parametrize(("lower", "upper", "real"), [(0.001, 0.02, True), (-0.001, 0.02, False)])
def test_a_better_ranking_is_named_only_where_its_interval_says_so(
    win: UpliftFacts, turned: bool, lower: float, upper: float, real: bool
) -> None:
    def changed(entry: UpliftMetric) -> UpliftMetric:
        if (entry.learner, entry.versus, entry.metric) != ("x_learner", "chosen", "qini"):
            return entry
        value = (lower + upper) / 2
        if turned:
            swapped = replace(entry, learner="chosen", versus="x_learner")
            return replace(swapped, value=-value, ci_lower=-upper, ci_upper=-lower)
        return replace(entry, value=value, ci_lower=lower, ci_upper=upper)

    text = page(replace(win, metrics=[changed(entry) for entry in win.metrics]))
    assert ("X-learner ranks better than the plan's by more than chance." in text) == real
    assert ("No ranking is better than the plan's" in text) != real
    row = next(row for row in table(text, "ranking")[1] if row[0] == "X-learner")
    assert_shows(row[2], (lower + upper) / 2, lower, upper)
    assert row[3] == ("better" if real else "no difference shown")


def test_a_simpler_rule_that_earns_more_is_in_the_answer(win: UpliftFacts) -> None:
    gains = [Gain("uplift", "response", -500.0, -900.0, -100.0), Gain("uplift", "treat all", -500.0, -900.0, 100.0)]
    text = page(with_policy(win, gains=gains))
    assert "first see the simpler rule that earns more (most likely buyers first)" in section(text, "The answer")
    assert [row[2] for row in table(text, "simpler rule")[1]] == ["EARNS LESS", "no difference shown"]


def test_every_challenger_quadrant_and_learner_has_words() -> None:
    assert set(CHALLENGERS) | set(values.STRATEGIES) == set(wording.RULES)
    assert tuple(wording.QUADRANTS) == quadrants.QUADRANTS
    assert set(TITLES) == set(uplift_facts.LEARNERS)


@pytest.mark.parametrize(
    ("lower", "upper", "words"),
    [(-0.1, 2.0, "not confirmed"), (0.2, 0.9, "too bold"), (1.1, 2.0, "too timid"), (0.5, 1.5, "of the right size")],
)
def test_calibration_is_put_into_words(win: UpliftFacts, lower: float, upper: float, words: str) -> None:
    metrics = [
        replace(m, value=(lower + upper) / 2, ci_lower=lower, ci_upper=upper) if m.metric == "calibration_slope" else m
        for m in win.metrics
    ]
    assert f"**Predicted uplift**: {words}" in page(replace(win, metrics=metrics))


def test_one_effect_for_all_is_no_slope(win: UpliftFacts, drawn: Callable[[UpliftFacts], dict[str, Figure]]) -> None:
    nudged = [replace(entry, predicted_uplift=0.0466 + 1e-17 * entry.decile) for entry in win.deciles]
    facts = replace(win, deciles=nudged)
    assert "**Predicted uplift**: one effect for all" in page(facts)
    figure = drawn(facts)["uplift_calibration.png"]
    assert "one effect for all" in figure.get_suptitle()
    assert "Slope" not in figure.get_suptitle()
    low, high = figure.axes[0].get_xlim()
    assert low < 4.66 < high
    assert "one effect for all" not in page(win)


def test_a_loss_of_the_simulated_experiment_is_no_success(drawn: Callable[[UpliftFacts], dict[str, Figure]]) -> None:
    facts = uplift_facts.build("loses")
    lost = 100 * np.mean([test.is_significant and test.measured_lift < 0 for test in facts.tests])
    assert lost > 50
    assert f"a significant gain in 0.0 % and a significant loss in {lost:.1f} % of the runs" in page(facts)
    axes = drawn(facts)["experiment_planner.png"].axes[1]
    assert axes.get_legend().get_texts()[0].get_text() == "Significant loss"
    assert f"0.0 % of the runs show a significant gain, {lost:.1f} % a loss" in axes.get_title()


def test_a_second_method_that_disagrees_is_said(win: UpliftFacts) -> None:
    def put(**changes: Any) -> str:
        chosen = [replace(p, **changes) if p is win.chosen else p for p in win.policy.projections]
        return page(with_policy(win, projections=chosen))

    assert "it does not confirm this" not in page(win)
    doubted = put(profit_ipw_ci_lower=-5.0)
    assert "it does not confirm this" in doubted
    assert "a second method does not confirm the gain" in section(doubted, "The answer")
    assert "so that the gain stays measured" in section(page(win), "The answer")
    assert "too few sessions for an interval" in put(profit_ipw=None, profit_ipw_ci_lower=None)
    assert "| not defined |" in put(roi=None, roi_ci_lower=None, roi_ci_upper=None)
    assert "[not defined]" in put(roi_ci_lower=None)


# --- facts that are missing, other settings


def test_without_a_funnel_or_time_nothing_is_said_of_them() -> None:
    text = page(uplift_facts.build("tiny", simulated=False, **NO_TIME))
    assert "Not known here" in section(text, "Where shoppers drop off")
    body = text.split("Numbers in [brackets]")[1]
    assert "UTC" not in body
    assert " days" not in body
    assert "sessions" not in body.replace("shop events", "")
    assert "Per 420 eligible customers" in text


GROUP = UpliftGroup(
    1, "cart so far: yes", 1240, 620, 620, 0.031, 0.041, 0.029, 0.0531, 4000, 0.05, 0.1, 2.5, treat=True
)
FEATURE = UpliftFeature("carts", "carts", None, "carts: 0.92 on average in the top tenth, 0.03 in the rest", 0.92, 0.03,
                        2.4, 1, 0.012, 1, "higher: more uplift", 1.0, 3980, 35_820)  # fmt: skip


def test_who_they_are_is_said_in_words(win: UpliftFacts) -> None:
    other = replace(GROUP, group_number=2, rule="cart so far: no", n_rows=38_560, effect=None, treat=False)
    value = GroupsValue(0.031, 31.0, 20.0, 42.0, -4.0, -9.0, 1.0)
    weak = replace(FEATURE, feature="day", label="day", words="day: 3 in the top tenth", difference=0.05, shap_rank=2)
    whom = Whom([GROUP, other], value, [FEATURE, weak])
    told = section(page(replace(win, whom=whom)), "Who they are, in words")
    assert (
        "- Treat: sessions with **cart so far: yes**. 1,240 of 39,800 sessions, effect 4.1 points (2.9 to 5.3)." in told
    )
    assert "- Do not treat: sessions with **cart so far: no**. 38,560 of 39,800 sessions, effect not defined." in told
    assert "Treating these groups (3 % of sessions) earns 31 [20 to 42] per 1,000 sessions." in told
    assert "that is -4 [-9 to 1]: no difference shown." in told
    assert f"- {FEATURE.words}" in told
    assert weak.words not in told
    assert (
        "What moves the predicted uplift most: carts (higher: more uplift); day (higher: more uplift).\n" in f"{told}\n"
    )
    followed = replace(whom, profile=[replace(FEATURE, fidelity=0.873)])
    assert "it explains 87 % of the score's variance." in page(replace(win, whom=followed))
    for bounds, verdict in (((1.0, 3.0), "the groups earn more"), ((-9.0, -1.0), "the ranking earns more")):
        changed = replace(value, versus_ranking_ci_lower=bounds[0], versus_ranking_ci_upper=bounds[1])
        assert verdict in page(replace(win, whom=replace(whom, value=changed)))
    alone = page(replace(win, whom=Whom([GROUP], None, [])))
    assert "No split of the sessions into groups predicts the effect on others better than one effect for all." in alone
    assert "Who they are" not in page(win)


def test_whatever_can_be_missing_may_be_missing(win: UpliftFacts, tmp_path: Path) -> None:
    empty = replace(
        win,
        metrics=[],
        plans=[],
        tests=[],
        tested_share=None,
        quadrant_counts={},
        placebo_qini=None,
        balance_worst=None,
        funnel=None,
        policy=replace(win.policy, gains=[], sensitivity=[], break_even_cost=None, break_even_share=0),
    )
    text = page(empty)
    assert "None" not in text
    assert "nan" not in text
    assert "no share of sessions breaks even" in text
    assert len(draw_uplift_figures(tmp_path, empty)) == len(FIGURES)
    without = draw_uplift_figures(tmp_path / "without", replace(win, curves={}))
    assert [path.name for path in without] == FIGURES[1:]
    assert not (tmp_path / "without" / FIGURES[0]).exists()


def test_a_shop_without_prices_is_not_said_to_have_lost_nothing(win: UpliftFacts) -> None:
    assert win.funnel is not None
    text = page(replace(win, funnel=replace(win.funnel, revenue_lost=0.0)))
    assert "What was left in carts is not known" in text
    assert "worth" not in section(text, "Where shoppers drop off")


def test_a_plan_that_breaks_its_budget_is_marked(win: UpliftFacts) -> None:
    assert win.chosen is not None
    cost = win.chosen.cost
    for budget, is_broken in ((cost * 0.8, True), (cost, False), (None, False)):
        said = section(page(with_money(win, budget=budget)), "Whom to target")
        assert ("MORE THAN THE BUDGET, which pays for 80 % of it" in said) == is_broken
        assert (f"There it costs {money(cost)}" in said) == is_broken


def test_settings_of_money_are_said(win: UpliftFacts) -> None:
    changes = {"cost": 0.25, "cost_per": "contact", "margin": 0.35, "budget": 12345.0, "value_column": "carted_value"}
    text = page(with_money(win, **changes))
    expect = section(text, "What to expect")
    assert "a cost of 0.25 per treated session and a revenue of `carted_value` (else 50) per conversion" in expect
    assert "35 % of revenue is kept" in expect
    assert "buy anyway" not in expect
    assert "Those who buy anyway are paid for too" in section(page(win), "What to expect")
    assert "within a budget of 12,345" in section(text, "Whom to target")
    assert table(text, "cost per treated session")[0][1:] == [f"revenue x {m:g}" for m in (0.5, 1, 1.5, 2)]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((1234567.4,), "1,234,567"),
        ((5.0,), "5"),
        ((0.75,), "0.75"),
        ((-0.004,), "0.00"),
        ((99.5, 12.25, 1234.5), "100 [12 to 1,234]"),
        ((-1.5, -2.25, 0.0), "-1.50 [-2.25 to 0.00]"),
        ((-100.4, -1e6, 0.2), "-100 [-1,000,000 to 0]"),
    ],
)
def test_money_is_written_plainly(values: tuple[float, ...], text: str) -> None:
    assert money(*values) == text


def test_no_negative_zero() -> None:
    assert percent(-0.0001) == "0 %"
    assert metric_text(fact_sheet.Difference(-0.00001, -0.1, 0.1)) == "0.0000 [-0.1000 to 0.1000]"


# --- figures


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[UpliftFacts], dict[str, Figure]]:
    """Draw, and keep the figures themselves."""
    figures: dict[str, Figure] = {}
    save = Figure.savefig

    def keep(figure: Figure, path: Path, **options: Any) -> None:
        save(figure, path, **options)
        figures[Path(path).name] = figure

    def draw(facts: UpliftFacts) -> dict[str, Figure]:
        figures.clear()
        draw_uplift_figures(tmp_path, facts)
        return dict(figures)

    monkeypatch.setattr(Figure, "savefig", keep)
    return draw


def test_equal_facts_give_equal_files_which_are_not_blank(win: UpliftFacts, tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    first = draw_uplift_figures(tmp_path / "first", win)
    second = draw_uplift_figures(tmp_path / "second", win)
    assert [path.name for path in first] == FIGURES
    assert dict(mpl.rcParams) == before
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        pixels = matplotlib.image.imread(one)[..., :3]
        assert pixels.shape[0] > 600
        assert pixels.shape[1] > 800
        assert np.mean(np.any(pixels < 0.9, axis=2)) > 0.02
        # Ink in colour, not only axes and text.
        assert np.mean(np.ptp(pixels, axis=2) > 0.2) > 0.002


LONG = {"is_synthetic": True, "units": "customers"}


@pytest.mark.parametrize(
    ("case", "changes"),
    [("win", LONG), ("unsure", LONG), ("nothing", LONG), ("loses", NO_TIME), ("tiny", NO_TIME)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_figures_say_what_they_rest_on_and_nothing_overlaps(
    case: str, changes: dict[str, Any], drawn: Callable[[UpliftFacts], dict[str, Figure]]
) -> None:
    facts = with_money(replace(uplift_facts.build(case), **changes), value_column="carted_value_so_far")
    if case == "unsure":
        facts = with_profit(facts, -12_345_678, 23_456_789)
    for name, figure in drawn(facts).items():
        figure.draw_without_rendering()
        texts = drawn_texts(figure)
        said = "\n".join(text.get_text() for text in texts)
        assert facts.marks in figure.get_suptitle().splitlines(), name
        average = facts.metric("all", "average_effect")
        assert average is not None
        # Money rests on more rows than what is said of the ranking.
        rows = facts.policy.projections[0].n_rows if name == "roi_curve.png" else average.n_rows
        assert f"n = {rows:,}" in said, name
        assert "95 % interval" in said or name == "experiment_planner.png", name
        for axes in figure.axes:
            assert not axes.axison or (axes.get_xlabel() and axes.get_ylabel()), name

        whole = figure.bbox
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
        for text, box in boxes:
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= whole.x1 + 1 and box.y1 <= whole.y1 + 1
            assert inside, (name, text)
        for at, (text, box) in enumerate(boxes):
            for other, other_box in boxes[at + 1 :]:
                assert not overlap(box, other_box), (name, text, other)


def drawn_texts(figure: Figure) -> list[Any]:
    """All texts but the labels of ticks outside the limits, which matplotlib keeps and does not draw."""
    hidden = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        hidden |= {id(tick.label1) for tick in ticks if not low <= tick.get_loc() <= high or not axis.axes.axison}
    texts = figure.findobj(mpl.text.Text)
    return [text for text in texts if text.get_visible() and text.get_text().strip() and id(text) not in hidden]


def overlap(one: Any, other: Any) -> bool:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return bool(width > 1 and height > 1)


def test_titles_of_measured_effects_do_not_say_simulated(
    win: UpliftFacts, drawn: Callable[[UpliftFacts], dict[str, Figure]]
) -> None:
    for figure in drawn(win).values():
        said = " ".join(text.get_text() for text in figure.findobj(mpl.text.Text)).lower()
        assert "simulated" not in said
        assert "synthetic" not in said


def test_lines_bars_and_points_are_the_facts(drawn: Callable[[UpliftFacts], dict[str, Figure]]) -> None:
    facts = uplift_facts.build("unsure")
    figures = drawn(facts)
    lines = by_label(figures["qini.png"])
    for learner, (x, y) in facts.curves.items():
        metric = facts.metric(learner, "qini")
        assert metric is not None
        title = TITLES[learner]
        bounds = f"{metric.value:.3f} [{metric.ci_lower:.3f} to {metric.ci_upper:.3f}]"
        np.testing.assert_array_equal(lines[f"{title}: Qini {bounds}"].get_xydata(), np.column_stack([100 * x, y]))

    own = sorted(facts.deciles, key=lambda entry: entry.decile)
    observed = [100 * entry.observed_uplift for entry in own]
    axes = figures["uplift_deciles.png"].axes[0]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx(observed)
    lines = by_label(figures["uplift_deciles.png"])
    assert lines["Predicted"].get_ydata() == pytest.approx([100 * entry.predicted_uplift for entry in own])
    assert lines["True (simulated)"].get_ydata() == pytest.approx([100 * (entry.true_uplift or 0) for entry in own])
    for intervals in (axes, figures["uplift_calibration.png"].axes[0]):
        segments = intervals.containers[-1].lines[2][0].get_segments()
        bounds = [[100 * entry.ci_lower, 100 * entry.ci_upper] for entry in own]
        np.testing.assert_allclose(np.array(segments)[:, :, 1], bounds)

    lines = by_label(figures["roi_curve.png"])
    labels = {"uplift": "Highest uplift first", "response": "Most likely buyers first", "random": "At random"}
    for strategy, label in labels.items():
        profits = [p.profit for p in facts.policy.projections if p.strategy == strategy]
        np.testing.assert_array_equal(lines[label].get_ydata(), [0, *profits])
    said = [text.get_text() for text in figures["roi_curve.png"].axes[0].texts]
    assert said == ["chosen: 10 %", f"breaks even: {facts.policy.break_even_share} %"]
    band = figures["roi_curve.png"].axes[0].collections[0].get_paths()[0].vertices
    own_profit = [p for p in facts.policy.projections if p.strategy == "uplift"]
    assert band[:, 1].min() == min(p.profit_ci_lower for p in own_profit)
    assert band[:, 1].max() == max(p.profit_ci_upper for p in own_profit)

    lines = by_label(figures["experiment_planner.png"])
    assert lines["Smallest lift that 28 days show"].get_ydata() == pytest.approx(
        [100 * (plan.smallest_lift_long or 0) for plan in facts.plans]
    )
    bars = figures["experiment_planner.png"].axes[1].containers
    gains = sum(test.is_significant and test.measured_lift > 0 for test in facts.tests)
    assert sum(bar.get_height() for bar in bars[0]) == gains
    legend = [text.get_text() for text in figures["experiment_planner.png"].axes[1].get_legend().get_texts()]
    assert legend == ["Significant gain", "Not significant", "Expected lift"]
    assert sum(bar.get_height() for container in bars for bar in container) == len(facts.tests)


def by_label(figure: Figure) -> dict[str, Any]:
    return {str(line.get_label()): line for line in figure.axes[0].lines}


def test_a_missing_best_decile_is_not_called_the_best(
    win: UpliftFacts, drawn: Callable[[UpliftFacts], dict[str, Figure]]
) -> None:
    figures = drawn(replace(win, deciles=[entry for entry in win.deciles if entry.decile > 2]))
    assert "Decile 3: " in figures["uplift_deciles.png"].get_suptitle()


@pytest.mark.parametrize("learner", ["response", "t_learner"])
def test_each_pair_of_rankings_is_told_once(learner: str) -> None:
    def entry(name: str, versus: str) -> UpliftMetric:
        return UpliftMetric(name, versus, "qini", 0.01, -0.01, 0.03, 100, 50, 50)

    names = ("chosen", "t_learner", "x_learner")
    metrics = [entry(name, "response") for name in names]
    metrics += [entry(name, "chosen") for name in ("t_learner", "x_learner") if name != learner]
    comparison = [replace(each, is_chosen=each.learner == learner) for each in uplift_facts.COMPARISON]
    told = differences(uplift_facts.build(metrics=metrics, comparison=comparison))
    assert len(set(told)) == len(told) == {"response": 2, "t_learner": 3}[learner]
    assert any(line.startswith("X-learner against Conversion probability") for line in told)
    assert any(line.startswith("X-learner against T-learner") for line in told) == (learner == "t_learner")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.06232, "+0.06232"),
        (-4863.93, "-4,864"),
        (14995.97, "+14,996"),
        (2.525, "+2.525"),
        (0.0000123456, "+0.00001235"),
        (0.0, "+0.0000"),
        (float("nan"), "not defined"),
    ],
)
def test_a_figure_has_four_digits_and_no_exponent(value: float, text: str) -> None:
    assert significant(value, "+") == text
