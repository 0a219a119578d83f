"""What a monitoring concludes, and how it says it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ml.drift.entries import ALARM, NOT_COUNTED, STABLE, TOO_FEW, WATCH, WINDOW, FeatureDrift, PerformanceDrift

# The first that any part has is what all of them have together.
BY_WEIGHT = (ALARM, TOO_FEW, WATCH, STABLE)
SHOWN = 10
METRIC_TITLES = {
    "auc_roc": "AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier_score": "Brier score",
    "expected_calibration_error": "expected calibration error",
    "observed_rate": "conversion rate",
    "predicted_rate": "predicted conversion rate",
    "observed_to_expected": "observed over predicted conversions",
    "normalised_log_loss": "normalised log loss",
}


@dataclass(frozen=True)
class Verdict:
    """Status of the population, of the performance and of both, with the alarms in words, the worst first."""

    population: str
    performance: str
    alarms: tuple[str, ...]
    watched: tuple[str, ...]

    @property
    def status(self) -> str:
        """Status of both together."""
        return heaviest((self.population, self.performance))


def heaviest(statuses: Iterable[str]) -> str:
    """Return the status that decides for all: one alarm is enough, and what was not evaluated is never stable.

    Examples
    --------
    >>> heaviest(["stable", "too few", "watch", "not counted"])
    'too few'
    """
    found = set(statuses)
    return next((status for status in BY_WEIGHT if status in found), TOO_FEW)


def verdict_of(features: Sequence[FeatureDrift], metrics: Sequence[PerformanceDrift]) -> Verdict:
    """Conclude from the window's rows of both tables.

    Parameters
    ----------
    features : sequence of FeatureDrift
        Features, of any periods.
    metrics : sequence of PerformanceDrift
        Metrics, of any periods.

    Returns
    -------
    Verdict
        The verdict.
    """
    own = sorted((entry for entry in features if entry.period == WINDOW), key=lambda entry: -(entry.psi or 0))
    measured = [entry for entry in metrics if entry.period == WINDOW]
    named = {
        status: (
            *(metric_text(entry) for entry in measured if entry.status == status),
            *(feature_text(entry) for entry in own if entry.status == status),
        )
        for status in (ALARM, WATCH)
    }
    return Verdict(
        heaviest(entry.status for entry in own if entry.status != NOT_COUNTED),
        heaviest(entry.status for entry in measured if entry.status != NOT_COUNTED),
        named[ALARM],
        named[WATCH],
    )


def feature_text(entry: FeatureDrift) -> str:
    """Name a feature with its index and what changed most."""
    new = ""
    if entry.new_value is not None and entry.new_value_share is not None:
        new = f"; new since the training: {entry.new_value}, {entry.new_value_share:.1%} of the rows"
    return (
        f"{entry.feature}: PSI {number(entry.psi)}, by chance up to {number(entry.psi_limit)} "
        f"(changed most: {entry.most_changed}{new})"
    )


def metric_text(entry: PerformanceDrift) -> str:
    """Name a metric with its value, the test split's, and the change with its interval."""
    return (
        f"{METRIC_TITLES[entry.metric]} {_between(entry.value, entry.ci_lower, entry.ci_upper)}, on the test split "
        f"{_between(entry.reference_value, entry.reference_ci_lower, entry.reference_ci_upper)}, "
        f"change {_between(entry.change, entry.change_lower, entry.change_upper)}"
    )


def findings(verdict: Verdict, features: Sequence[FeatureDrift], metrics: Sequence[PerformanceDrift]) -> list[str]:
    """Say what was found, for people at a terminal and in a scheduler's log.

    Parameters
    ----------
    verdict : Verdict
        The verdict.
    features : sequence of FeatureDrift
        Features, of any periods.
    metrics : sequence of PerformanceDrift
        Metrics, of any periods.

    Returns
    -------
    list of str
        Lines.
    """
    own = [entry for entry in features if entry.period == WINDOW]
    counted = [entry for entry in own if entry.status != NOT_COUNTED]
    measured = [entry for entry in metrics if entry.period == WINDOW and entry.status != NOT_COUNTED]
    few = sum(entry.status == TOO_FEW for entry in counted)
    drifted = sum(entry.status == ALARM for entry in counted)
    watched = sum(entry.status == WATCH for entry in counted)
    lines = [
        f"Population: {verdict.population}. Of {len(counted)} features and scores that count, {drifted} are an alarm, "
        f"{watched} to watch, {few} have not enough rows ({own[0].n_rows:,} against {own[0].n_reference_rows:,})."
    ]
    if verdict.performance == TOO_FEW:
        rows, positives = (metrics[0].n_rows, metrics[0].n_positives) if metrics else (0, 0)
        lines.append(
            f"Performance: not enough to evaluate: {rows:,} rows of closed sessions, {positives:,} of them converting "
            "(monitoring.min_positives)."
        )
    else:
        lines.append(
            f"Performance: {verdict.performance}, on {measured[0].n_rows:,} rows of closed sessions, "
            f"{measured[0].n_positives:,} of them converting."
        )
        lines += [f"  {entry.status}: {metric_text(entry)}" for entry in measured]
    for status, texts in ((ALARM, verdict.alarms), (WATCH, verdict.watched)):
        lines += [f"  {status}: {text}" for text in texts[:SHOWN] if f"  {status}: {text}" not in lines]
        if len(texts) > SHOWN:
            lines.append(f"  {status}: {len(texts) - SHOWN} more in funnelift.drift_features")
    return lines


def _between(value: float | None, lower: float | None, upper: float | None) -> str:
    return f"{number(value)} [{number(lower)}, {number(upper)}]"


def number(value: float | None) -> str:
    """Write a number in three decimals.

    Examples
    --------
    >>> number(0.25), number(None)
    ('0.250', 'not known')
    """
    return "not known" if value is None else f"{value:.3f}"
