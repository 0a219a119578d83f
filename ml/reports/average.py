"""The average effect in words, and the page of an experiment that can say no more."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ml.experiment.designed import AverageEffect
from ml.experiment.file import Columns, FileExperiment
from ml.files import write_json
from ml.reports.wording import significant
from ml.run import Stamp
from ml.uplift.evaluate import Evaluation
from ml.uplift.metrics import UpliftMetric

NAMES = {
    "average_effect_all_slices": "as designed",
    "average_effect_adjusted": "adjusted for features",
    "average_effect_sequence": "may be looked at repeatedly",
    "relative_lift": "relative to the control mean",
}


def metrics_of(average: AverageEffect) -> list[UpliftMetric]:
    """Return the average effect as rows of the table of metrics."""
    return [UpliftMetric("all", "", name, *entry, *average.rows) for name, entry in average.entries.items()]


def as_designed(evaluation: Evaluation, average: AverageEffect | None) -> Evaluation:
    """Put the average effect as designed in the place of the plain one, where there is one."""
    own = [] if average is None else metrics_of(average)
    replaced = {entry.metric for entry in own}
    others = [entry for entry in evaluation.metrics if entry.learner != "all" or entry.metric not in replaced]
    return replace(evaluation, metrics=[*others, *own])


def average_lines(average: AverageEffect) -> list[str]:
    """Say in plain lines what the average effect is, for whoever started the run."""
    rows = average.rows[0]
    lines = []
    for name, (value, lower, upper) in average.entries.items():
        what, digits = ("Relative lift", ",.1%") if name == "relative_lift" else ("Average effect", ",.4f")
        where = {"average_effect_all_slices": f"on {rows:,} rows (all)"}.get(name, NAMES[name])
        lines.append(
            f"{what} {where}: {value:+{digits}} [{lower:+{digits}}, {upper:+{digits}}], treated minus control"
            f"{_per(average)}."
        )
    if average.chance_p is not None:
        lines.append(f"Randomisation test, which few units do not spoil: p = {average.chance_p:.3g}.")
    return lines


def average_section(average: AverageEffect, confidence: str, notes: Sequence[str] = ()) -> list[str]:
    """Say what the average effect is, as a section of a page."""
    rows = []
    for name, (value, lower, upper) in average.entries.items():
        texts = [f"{n:,.1%}" if name == "relative_lift" else significant(n, "+") for n in (value, lower, upper)]
        rows.append(f"| {NAMES[name]} | {texts[0]} | {texts[1]} to {texts[2]} |")
    test = "" if average.chance_p is None else f" Randomisation test: p = {average.chance_p:.3g}."
    return [
        "## The average effect",
        "",
        f"Treated {significant(average.treated_mean)}, control {significant(average.control_mean)}{_per(average)}; "
        f"{average.units_treatment:,} treated and {average.units_control:,} control {average.unit}, "
        f"{average.rows[0]:,} rows; p = {average.p_value:.3g}.{test}",
        "",
        f"| estimate, treated minus control | effect | {confidence} interval |",
        "| --- | ---: | ---: |",
        *rows,
        "",
        *(f"- {sentence(text)}" for text in (*average.warnings, *notes)),
        *([""] if average.warnings or notes else []),
    ]


def sentence(text: str) -> str:
    """Return a text with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _per(average: AverageEffect) -> str:
    return "" if average.per == "row" else f" (each {average.per} counted once)"


def write_average(folder: Path, found: FileExperiment, stamp: Stamp, columns: Columns, confidence: float) -> None:
    """Write the page and the figures of an experiment that has an average effect and nothing more.

    Parameters
    ----------
    folder : Path
        The run's folder.
    found : FileExperiment
        The experiment.
    stamp : Stamp
        Its run.
    columns : Columns
        What the file's columns are.
    confidence : float
        Confidence of the intervals, 0 to 1.
    """
    level = f"{100 * confidence:g} %"
    page = [
        "# Recommendations: what the treatment does on average",
        "",
        f"Run `{stamp.run_id}`, {stamp.scored_at:%Y-%m-%d %H:%M} UTC. From: {found.source}.",
        "",
        "## The answer",
        "",
        f"**{verdict(found.average, columns)}** Whom it changes most cannot be learnt: {found.unrankable}. The uplift "
        "models and their money were left out.",
        "",
        *average_section(found.average, level),
        "## How sure we are",
        "",
        f"- {arms_text(found)}",
        *(f"- {sentence(text)}" for text in (*found.randomisation.warnings, *found.notes)),
        "",
    ]
    (folder / "recommendations.md").write_text("\n".join(page), encoding="utf-8")
    write_json(
        folder / "metrics" / "uplift_metrics.json",
        {
            "run_id": stamp.run_id,
            "source": found.source,
            "is_simulated": False,
            "is_synthetic": False,
            "left_out": found.unrankable,
            "warnings": warnings_of(found),
            "metrics": [asdict(entry) for entry in metrics_of(found.average)],
            "average": asdict(found.average),
            "randomisation": {
                "visitors_treatment": found.randomisation.visitors_treatment,
                "visitors_control": found.randomisation.visitors_control,
                "sample_ratio_p": found.randomisation.ratio_p,
                "worst_p": found.randomisation.worst_p,
                "balances": [asdict(entry) | {"smd": _finite(entry.smd)} for entry in found.randomisation.balances],
            },
        },
    )


def warnings_of(found: FileExperiment) -> list[str]:
    """Return everything that a reader must know of an experiment from a file."""
    return [*found.randomisation.warnings, *found.average.warnings, *found.notes]


def verdict(average: AverageEffect, columns: Columns) -> str:
    """Say in one sentence what the treatment does."""
    value, lower, upper = average.effect
    if lower <= 0 <= upper:
        return f"It is not shown that the treatment changes {columns.outcome}."
    better = (value < 0) == columns.lower_is_better
    return f"The treatment {'raises' if value > 0 else 'lowers'} {columns.outcome}: {'better' if better else 'worse'}."


def arms_text(found: FileExperiment) -> str:
    """Say what is known of how the arms were drawn."""
    ratio, worst = found.randomisation.ratio_p, found.randomisation.worst_balance
    sizes = (
        "their sizes were not tested, because the designed share was not told"
        if ratio is None
        else f"their sizes against the design: p = {ratio:.3g}"
    )
    features = "no feature to compare" if worst is None else f"they differ most in `{worst[0]}` (p = {worst[2]:.3g})"
    return f"Arms: {sizes}; {features}."


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def lines_without_ranking(found: FileExperiment, columns: Columns, results: Path) -> Sequence[str]:
    """Say what a run found that has an average effect and nothing more."""
    return [
        verdict(found.average, columns),
        f"Whom it changes most cannot be learnt, so the uplift models were left out: {found.unrankable}.",
        arms_text(found),
        f"Files: {results}/ (recommendations.md, metrics/).",
    ]
