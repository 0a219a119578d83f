"""The model card: what was trained on what, how good it is, and where it must not be used."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from ml.conversion.bands import BANDS
from ml.conversion.curve import wilson_interval
from ml.conversion.evaluate import Evaluation
from ml.conversion.ranked import METRICS
from ml.reports.conversion_facts import ConversionFacts, metric_text

SHORT = dict(zip(METRICS, ("AUC-ROC", "average precision", "log loss", "Brier score", "ECE"), strict=True))


def model_card(facts: ConversionFacts) -> str:
    """Write the card.

    Parameters
    ----------
    facts : ConversionFacts
        Everything it speaks of.

    Returns
    -------
    str
        Markdown.
    """
    return "\n".join(
        [
            *_head(facts),
            *_data(facts),
            *_models(facts),
            *_metrics(facts),
            *_risk_bands(facts),
            *_drivers(facts),
            *_gates(facts),
            *_limits(facts),
            *_files(facts),
        ]
    )


def _head(facts: ConversionFacts) -> list[str]:
    banner = ["> **Synthetic data.** Every number below describes made-up visitors.", ""]
    return [
        f"# Model card: will this session still convert? ({facts.champion.title})",
        "",
        *(banner if facts.stamp.is_synthetic else []),
        f"Model version `{facts.stamp.model_version}`, run `{facts.stamp.run_id}`, "
        f"{facts.stamp.scored_at:%Y-%m-%d %H:%M} UTC, seed {facts.record.seed}.",
        "",
        "**Question.** At a decision point of a running session (landing, engaged, cart): how likely is a transaction "
        "later in the same session? `abandon_probability` is the rest to 1.",
        "",
        "**For.** Ranking and sizing who is about to leave. **Not for.** Saying what an intervention would change: "
        "that is a question of uplift, and a low probability is no proof that an offer helps.",
        "",
    ]


def _data(facts: ConversionFacts) -> list[str]:
    splits, record, summary = facts.checked.splits, facts.record, facts.checked.summary
    lines = [
        "## Data",
        "",
        f"{record.session_count:,} sessions from {summary.first_at} to {summary.last_at} UTC, "
        f"{record.converting_session_count:,} with a transaction ({record.conversion_rate:.4%}); "
        f"{record.feature_row_count:,} rows (session and decision point). Fingerprint `{record.data_sha256[:16]}`.",
        "",
        "| split | from (UTC) | to (UTC) | rows |",
        "| --- | --- | --- | ---: |",
    ]
    spans = {
        "train": (splits.starts_ms, splits.calibration_ms),
        "calibration": (splits.calibration_ms + splits.embargo_ms, splits.test_ms),
        "test": (splits.test_ms + splits.embargo_ms, splits.ends_ms),
    }
    rows = {"train": record.train_row_count, "calibration": record.calibration_row_count, "test": record.test_row_count}
    lines += [f"| {name} | {_utc(start)} | {_utc(end)} | {rows[name]:,} |" for name, (start, end) in spans.items()]
    return [
        *lines,
        "",
        f"{record.embargo_row_count:,} rows in the embargo after each boundary "
        f"({facts.config.split.embargo_seconds:,} s) or of sessions that began in an earlier split, and "
        f"{record.open_row_count:,} rows of sessions still open, are scored and neither trained on nor evaluated. "
        f"{_wrong_clocks(facts)}"
        "All converting rows, or as many as `sampling.max_rows` leaves room for, and a sample of the others were "
        f"trained on ({record.trained_row_count:,} rows), weighted back to the full split.",
        "",
    ]


def _wrong_clocks(facts: ConversionFacts) -> str:
    told, rows = facts.checked.summary.wrong_clocks, facts.record.implausible_row_count
    return f"{told}; {rows:,} rows of closed sessions among them are scored only. " if told else ""


def _models(facts: ConversionFacts) -> list[str]:
    lines = [
        "## Models",
        "",
        "Early stopping, calibration and the choice of the champion use the calibration split; log losses there are "
        "cross-fitted by visitor. The test split was touched once, after the choice.",
        "",
        "| model | calibration | log loss, calibration split | champion |",
        "| --- | --- | ---: | --- |",
    ]
    return [
        *lines,
        *(
            f"| {fit.model.title} | {fit.calibrator.method} | {fit.log_loss:.6f} "
            f"| {'yes' if name == facts.champion.name else ''} |"
            for name, fit in facts.candidates.items()
        ),
        "",
    ]


def _metrics(facts: ConversionFacts) -> list[str]:
    config = facts.config.evaluation
    by_key = {(entry.model, entry.slice, entry.metric): entry for entry in facts.evaluation.metrics}
    names = list(dict.fromkeys(entry.slice for entry in facts.evaluation.metrics))
    digits = {"log_loss": 4, "brier_score": 5, "expected_calibration_error": 5}
    header = ["slice", "model", "rows", "converted", *SHORT.values()]
    lines = [
        "## Test split",
        "",
        f"{config.confidence:.0%} intervals from {config.bootstrap_resamples} resamples of visitors."
        + _sample(facts.evaluation),
        "",
        f"| {' | '.join(header)} |",
        f"|{' --- |' * 2}{' ---: |' * (len(header) - 2)}",
    ]
    for name in names:
        for model, fit in facts.candidates.items():
            entries = [by_key[model, name, metric] for metric in METRICS]
            cells = [metric_text(entry, digits.get(entry.metric, 3)) for entry in entries]
            counts = f"{entries[0].n_rows:,} | {entries[0].n_positives:,}"
            lines.append(f"| {name} | {fit.model.title} | {counts} | {' | '.join(cells)} |")
    return [*lines, "", "ECE: expected calibration error over bins of equal count.", ""]


def _sample(evaluation: Evaluation) -> str:
    if not evaluation.is_sample:
        return ""
    return (
        f" Evaluated on {len(evaluation.rows):,} of {evaluation.split_rows:,} test rows: all those of some visitors, "
        "whom a hash of the id chose. The intervals are for so many."
    )


def _risk_bands(facts: ConversionFacts) -> list[str]:
    bands = facts.config.risk_bands
    lines = [
        "## Risk bands",
        "",
        f"Risk of leaving, against others at the same decision point: high for the {bands.high_share:.0%} of the "
        f"calibration split that are least likely to convert, low for the {bands.low_share:.0%} that are most likely, "
        "else medium. On the test split:",
        "",
        "| decision point | risk of leaving | rows | mean predicted | converted | 95 % Wilson interval |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    predictions, evaluation = facts.predictions, facts.evaluation
    points = np.asarray(predictions.data.decision_point[evaluation.rows])
    found, probability = predictions.risk_band[evaluation.rows], predictions.probability[evaluation.rows]
    for point in sorted(set(points)):
        for code, band in reversed(list(enumerate(BANDS))):
            rows = (points == point) & (found == code)
            n, positives = int(rows.sum()), int(evaluation.label[rows].sum())
            if n:
                lower, upper = wilson_interval(positives, n)
                lines.append(
                    f"| {point} | {band} | {n:,} | {probability[rows].mean():.3%} | {positives / n:.3%} "
                    f"| {lower:.3%} to {upper:.3%} |"
                )
    return [*lines, ""]


def _drivers(facts: ConversionFacts) -> list[str]:
    top = [effect for effect in facts.explanation.effects if effect.decision_point == "all"][:10]
    return [
        "## What moves the score",
        "",
        "Mean absolute SHAP value on the test split, in log-odds. It says what the model uses, not what causes a sale.",
        "",
        "| rank | feature | group | mean abs. SHAP | direction |",
        "| ---: | --- | --- | ---: | --- |",
        *(
            f"| {effect.rank} | `{effect.feature}` | {effect.feature_group} | {effect.mean_abs_shap:.4f} "
            f"| {effect.direction} |"
            for effect in top
        ),
        "",
    ]


def _gates(facts: ConversionFacts) -> list[str]:
    leakage = facts.config.leakage
    best = next(iter(facts.checked.single_features), None)
    alarm = (
        f"Strongest single feature: `{best.feature}` at {best.decision_point}, AUC {best.auc:.3f}."
        if best
        else f"No decision point has {leakage.min_positives} converting rows, so no single feature could be evaluated."
    )
    accepted = [
        f"- `{name}` is accepted although it looks like a leak: {why}" for name, why in leakage.accepted.items()
    ]
    return [
        "## Gates passed",
        "",
        "- Counts of sessions, converting sessions and rows at each decision point, and the conversion rate, are the "
        "same in Python and in the warehouse's SQL.",
        f"- {facts.checked.expectations} expectations on nulls, ranges and accepted values hold.",
        f"- No single feature has an AUC above {leakage.highest_auc} at a decision point. {alarm}",
        *accepted,
        "",
    ]


def _limits(facts: ConversionFacts) -> list[str]:
    return [
        "## Limits",
        "",
        "- The past predicts the future only while visitors, assortment and prices behave alike: watch the calibration "
        "and train again when it drifts.",
        "- Visitors are browser ids: one person on two devices is two visitors.",
        "- Few conversions in a slice make wide intervals; read them before the point values.",
        "- Bots are flagged in the marts and stay in unless dbt's `exclude_bots` is true.",
        "- Calibration intervals (Wilson) take rows as independent; the metrics' intervals do not.",
        "- No personal attribute is used. Category and price can still stand in for one: check before treating people "
        "differently.",
        "",
    ]


def _files(facts: ConversionFacts) -> list[str]:
    record = facts.record
    hashes: Sequence[tuple[str, str]] = [
        (record.champion_file, record.model_sha256),
        ("catboost_model.cbm", record.catboost_sha256),
        ("calibrator.json", record.calibrator_sha256),
        ("features.json", record.features_sha256),
    ]
    return [
        "## Files",
        "",
        *(f"- `models/{name}` sha256 `{digest}`" for name, digest in dict.fromkeys(hashes)),
        "",
        f"Code at commit `{record.git_commit or 'unknown'}`; settings and package versions are in `ml_runs`.",
        "",
    ]


def _utc(epoch_ms: int) -> str:
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M}"
