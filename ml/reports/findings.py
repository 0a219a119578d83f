"""What a run found, in a few lines for whoever started it."""

from ml.experiment.file import Columns, FileExperiment
from ml.reports.average import average_lines, sentence, warnings_of
from ml.reports.facts import UpliftFacts
from ml.uplift.metrics import UpliftMetric
from ml.uplift.names import CHOSEN, RESPONSE, TITLES


def findings_of(facts: UpliftFacts) -> list[str]:
    """Say what a run on the mart found.

    Parameters
    ----------
    facts : UpliftFacts
        What was found.

    Returns
    -------
    list of str
        Lines to print.
    """
    made_up = "SIMULATED effects: " if facts.is_simulated else ""
    average = facts.metric("all", "average_effect")
    qini = facts.metric(CHOSEN, "qini")
    chosen = facts.chosen
    lines = []
    if average and qini:
        lines.append(
            f"{made_up}{facts.source}; {average.n_rows:,} test rows, average effect {average.value:+.2%} "
            f"[{average.ci_lower:+.2%}, {average.ci_upper:+.2%}], Qini of the chosen ranking, {facts.title}: "
            f"{qini.value:.3f} [{qini.ci_lower:.3f}, {qini.ci_upper:.3f}]."
        )
    if chosen is None:
        lines.append(f"{made_up}no share of sessions earns more than it costs: treat nobody.")
    else:
        lines.append(
            f"{made_up}best share {chosen.share_percent} %: profit {chosen.profit:,.0f} "
            f"[{chosen.profit_ci_lower:,.0f}, {chosen.profit_ci_upper:,.0f}] in "
            f"{facts.config.policy.horizon_days:g} days, cost {chosen.cost:,.0f}."
        )
    lines.append(
        f"What to do, in plain words: {facts.config.results}/recommendations.md. Tables: uplift_scores, "
        "uplift_candidates, uplift_groups, uplift_profile, uplift_metrics, uplift_deciles, roi_projection, "
        "roi_sensitivity, roi_gains, experiment_plan, ab_test_simulation, uplift_runs."
    )
    return lines


def lines_of_reading(found: FileExperiment) -> list[str]:
    """Say what a file held, what was left out of it, what a reader must know, and the average effect."""
    left_out = "".join(f" {count:,} rows with {value!r} were left out." for value, count in found.other_arms.items())
    return [
        f"{found.source}: {len(found.experiment):,} of {found.rows_read:,} rows.{left_out}",
        *(f"Column {name} is no feature: {reason}." for name, reason in found.dropped.items()),
        *map(sentence, warnings_of(found)),
        *average_lines(found.average),
    ]


def findings_of_file(facts: UpliftFacts, found: FileExperiment, columns: Columns) -> list[str]:
    """Say what a run on a file found, and which differences between learners are real.

    Parameters
    ----------
    facts : UpliftFacts
        What was found.
    found : FileExperiment
        The file's experiment, and what was left out of it.
    columns : Columns
        What the file's columns are.

    Returns
    -------
    list of str
        Lines to print.
    """
    lines = lines_of_reading(found)
    average = facts.metric("all", "average_effect")
    if average is not None:
        without = f" without {columns.outcome}" if columns.lower_is_better else ""
        lines.append(
            f"Average effect on {average.n_rows:,} rows{without} (test): {average.value:+.4f} "
            f"[{average.ci_lower:+.4f}, {average.ci_upper:+.4f}], treated minus control."
        )
    for name in TITLES:
        qini = facts.metric(name, "qini")
        if qini is not None:
            lines.append(f"Qini of {TITLES[name]}: {qini.value:.4f} [{qini.ci_lower:.4f}, {qini.ci_upper:.4f}].")
    lines.append(f"Published: {facts.title}.")
    lines += differences(facts)
    chosen = facts.chosen
    if chosen is None:
        lines.append("No share of rows earns more than it costs: treat nobody.")
    else:
        lines.append(
            f"Best share {chosen.share_percent} %: profit {chosen.profit:,.0f} [{chosen.profit_ci_lower:,.0f}, "
            f"{chosen.profit_ci_upper:,.0f}] for {chosen.eligible_sessions:,.0f} rows."
        )
    return [*lines, f"Files: {facts.config.results}/ (recommendations.md, figures/, metrics/, predictions/, models/)."]


def differences(facts: UpliftFacts) -> list[str]:
    """Say which differences between two rankings are real, each pair once.

    Parameters
    ----------
    facts : UpliftFacts
        What was found.

    Returns
    -------
    list of str
        One sentence per pair with the response baseline or the chosen candidate.
    """
    # The chosen candidate has two names, and may be the response baseline, which all are set against anyway.
    against = [RESPONSE] if facts.learner == RESPONSE else [RESPONSE, CHOSEN]
    compared = [entry for entry in facts.metrics if entry.versus in against and entry.metric == "qini"]
    return [statement(entry, facts.title) for entry in compared if entry.learner != CHOSEN]


def statement(entry: UpliftMetric, chosen: str) -> str:
    """Say in one sentence whether a paired difference between two learners is real.

    Parameters
    ----------
    entry : UpliftMetric
        A difference: its `versus` names the learner it is the difference to.
    chosen : str
        Title of the candidate that was chosen.

    Returns
    -------
    str
        One sentence with the interval.
    """
    interval = f"{entry.value:+.4f} [{entry.ci_lower:+.4f}, {entry.ci_upper:+.4f}]"
    titles = {**TITLES, CHOSEN: chosen}
    learner, versus = titles[entry.learner], titles[entry.versus]
    if entry.ci_lower > 0:
        return f"{learner} ranks better than {versus}: {interval}, a real difference."
    if entry.ci_upper < 0:
        return f"{learner} ranks worse than {versus}: {interval}, a real difference."
    return f"{learner} against {versus}: {interval}, no difference shown."
