"""The model card: what was trained on what, how good it is, and where it must not be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels
from ml.config import Config
from ml.conversion.bands import BANDS
from ml.conversion.calibration import Candidate
from ml.conversion.curve import wilson_interval
from ml.conversion.evaluate import METRICS, Metric
from ml.conversion.explain import FeatureEffect
from ml.data.gates import Summary
from ml.data.leakage import FeatureAuc
from ml.data.split import Slices
from ml.publish.runs import RunRecord
from ml.reports.figures import TITLES
from ml.run import Stamp

SHORT = dict(zip(METRICS, ("AUC-ROC", "average precision", "log loss", "Brier score", "ECE"), strict=True))


@dataclass(frozen=True)
class RunFacts:
    """Everything the card speaks of."""

    config: Config
    stamp: Stamp
    record: RunRecord
    summary: Summary
    slices: Slices
    candidates: dict[str, Candidate]
    champion: str
    metrics: list[Metric]
    effects: list[FeatureEffect]
    single_features: list[FeatureAuc]
    expectations: int
    test_point: npt.NDArray[np.object_]
    test_band: npt.NDArray[np.int8]
    test_label: Labels
    test_probability: Floats


def model_card(facts: RunFacts) -> str:
    """Write the card.

    Parameters
    ----------
    facts : RunFacts
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


def metric_text(entry: Metric, digits: int = 3) -> str:
    """Return a metric with its interval, as "0.838 [0.831, 0.845]".

    Parameters
    ----------
    entry : Metric
        The metric.
    digits : int
        Decimals.

    Returns
    -------
    str
        "not defined" where it has no value.
    """
    if entry.value is None or entry.ci_lower is None or entry.ci_upper is None:
        return "not defined"
    return f"{entry.value:.{digits}f} [{entry.ci_lower:.{digits}f}, {entry.ci_upper:.{digits}f}]"


def _head(facts: RunFacts) -> list[str]:
    banner = ["> **Synthetic data.** Every number below describes made-up visitors.", ""]
    return [
        f"# Model card: will this session still convert? ({TITLES[facts.champion]})",
        "",
        *(banner if facts.summary.is_synthetic else []),
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


def _data(facts: RunFacts) -> list[str]:
    slices, record = facts.slices, facts.record
    lines = [
        "## Data",
        "",
        f"{record.session_count:,} sessions from {facts.summary.first_event_at} to {facts.summary.last_event_at} UTC, "
        f"{record.converting_session_count:,} with a transaction ({record.conversion_rate:.4%}); "
        f"{record.feature_row_count:,} rows (session and decision point). Fingerprint `{record.data_sha256[:16]}`.",
        "",
        "| slice | from (UTC) | to (UTC) | rows |",
        "| --- | --- | --- | ---: |",
    ]
    spans = {
        "train": (slices.starts_ms, slices.calibration_ms),
        "calibration": (slices.calibration_ms + slices.embargo_ms, slices.test_ms),
        "test": (slices.test_ms + slices.embargo_ms, slices.ends_ms),
    }
    rows = {"train": record.train_row_count, "calibration": record.calibration_row_count, "test": record.test_row_count}
    lines += [f"| {name} | {_utc(start)} | {_utc(end)} | {rows[name]:,} |" for name, (start, end) in spans.items()]
    return [
        *lines,
        "",
        f"{record.embargo_row_count:,} rows in the embargo after each boundary "
        f"({facts.config.split.embargo_seconds:,} s) or of sessions that began in an earlier slice, and "
        f"{record.open_row_count:,} rows of sessions still open, are scored and neither trained on nor judged. "
        f"All converting rows and a sample of the others were trained on ({record.trained_row_count:,} rows), weighted "
        "back to the full slice.",
        "",
    ]


def _models(facts: RunFacts) -> list[str]:
    lines = [
        "## Models",
        "",
        "Early stopping, calibration and the choice of the champion use the calibration slice; log losses there are "
        "cross-fitted by visitor. The test slice was touched once, after the choice.",
        "",
        "| model | calibration | log loss, calibration slice | champion |",
        "| --- | --- | ---: | --- |",
    ]
    return [
        *lines,
        *(
            f"| {TITLES[name]} | {candidate.calibrator.method} | {candidate.log_loss:.6f} "
            f"| {'yes' if name == facts.champion else ''} |"
            for name, candidate in facts.candidates.items()
        ),
        "",
    ]


def _metrics(facts: RunFacts) -> list[str]:
    config = facts.config.evaluation
    by_key = {(entry.model, entry.slice, entry.metric): entry for entry in facts.metrics}
    names = list(dict.fromkeys(entry.slice for entry in facts.metrics))
    digits = {"log_loss": 4, "brier_score": 5, "expected_calibration_error": 5}
    header = ["slice", "model", "rows", "converted", *SHORT.values()]
    lines = [
        "## Test slice",
        "",
        f"{config.confidence:.0%} intervals from {config.bootstrap_resamples} resamples of visitors.",
        "",
        f"| {' | '.join(header)} |",
        f"|{' --- |' * 2}{' ---: |' * (len(header) - 2)}",
    ]
    for name in names:
        for model in facts.candidates:
            entries = [by_key[model, name, metric] for metric in METRICS]
            cells = [metric_text(entry, digits.get(entry.metric, 3)) for entry in entries]
            counts = f"{entries[0].n_rows:,} | {entries[0].n_positives:,}"
            lines.append(f"| {name} | {TITLES[model]} | {counts} | {' | '.join(cells)} |")
    return [*lines, "", "ECE: expected calibration error over bins of equal count.", ""]


def _risk_bands(facts: RunFacts) -> list[str]:
    bands = facts.config.risk_bands
    lines = [
        "## Risk bands",
        "",
        "Risk of leaving, by the probability of a conversion over the training slice's rate at the same decision "
        f"point: high below {bands.high_below:g}, low from {bands.low_from:g} on, else medium. On the test slice:",
        "",
        "| decision point | risk of leaving | rows | mean predicted | converted | 95 % Wilson interval |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for point in sorted(set(facts.test_point)):
        for code, band in reversed(list(enumerate(BANDS))):
            rows = (facts.test_point == point) & (facts.test_band == code)
            n, positives = int(rows.sum()), int(facts.test_label[rows].sum())
            if n:
                lower, upper = wilson_interval(positives, n)
                lines.append(
                    f"| {point} | {band} | {n:,} | {facts.test_probability[rows].mean():.3%} | {positives / n:.3%} "
                    f"| {lower:.3%} to {upper:.3%} |"
                )
    return [*lines, ""]


def _drivers(facts: RunFacts) -> list[str]:
    top = [effect for effect in facts.effects if effect.decision_point == "all"][:10]
    return [
        "## What moves the score",
        "",
        "Mean absolute SHAP value on the test slice, in log-odds. It says what the model uses, not what causes a sale.",
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


def _gates(facts: RunFacts) -> list[str]:
    leakage = facts.config.leakage
    best = facts.single_features[0] if facts.single_features else None
    alarm = (
        f"Strongest single feature: `{best.feature}` at {best.decision_point}, AUC {best.auc:.3f}."
        if best
        else f"No decision point has {leakage.min_positives} converting rows, so no single feature could be judged."
    )
    accepted = [
        f"- `{name}` is accepted although it looks like a leak: {why}" for name, why in leakage.accepted.items()
    ]
    return [
        "## Gates passed",
        "",
        "- Counts of sessions, converting sessions and rows at each decision point, and the conversion rate, are the "
        "same in Python and in the warehouse's SQL.",
        f"- {facts.expectations} expectations on nulls, ranges and accepted values hold.",
        f"- No single feature has an AUC above {leakage.highest_auc} at a decision point. {alarm}",
        *accepted,
        "",
    ]


def _limits(facts: RunFacts) -> list[str]:
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


def _files(facts: RunFacts) -> list[str]:
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
