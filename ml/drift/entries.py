"""Rows of the tables drift_*: what one monitoring found."""

from dataclasses import dataclass
from datetime import date, datetime

STABLE, WATCH, ALARM, TOO_FEW, NOT_COUNTED = "stable", "watch", "alarm", "too few", "not counted"
# The period in which alarms are looked for; every other one is named by its first day.
WINDOW = "window"


@dataclass(frozen=True)
class FeatureDrift:
    """How far a feature, or the probability, has moved from the test split in one period."""

    period: str
    feature: str
    feature_group: str
    description: str
    psi: float | None
    psi_by_chance: float | None
    psi_limit: float | None
    status: str
    most_changed: str | None
    new_value: str | None
    new_value_share: float | None
    n_reference_rows: int
    n_rows: int
    n_visitors: int


@dataclass(frozen=True)
class DriftBin:
    """One bin of a feature: its share of the test split and of the window."""

    feature: str
    bin: int
    label: str
    reference_share: float
    share: float
    contribution: float


@dataclass(frozen=True)
class PerformanceDrift:
    """One metric of the champion on rows of one period whose outcome is known, beside the test split's."""

    period: str
    metric: str
    value: float | None
    ci_lower: float | None
    ci_upper: float | None
    reference_value: float | None
    reference_ci_lower: float | None
    reference_ci_upper: float | None
    change: float | None
    change_lower: float | None
    change_upper: float | None
    status: str
    n_rows: int
    n_positives: int
    n_visitors: int


@dataclass(frozen=True)
class DriftCalibration:
    """One bin of a calibration curve: of the test split, or of the window's rows whose outcome is known."""

    sample: str
    bin: int
    mean_predicted: float
    observed_rate: float
    ci_lower: float
    ci_upper: float
    n_rows: int
    n_positives: int


@dataclass(frozen=True)
class DriftRun:
    """One row of `drift_runs`: what a monitoring looked at and its verdict. Rows are only ever added."""

    champion_run_id: str
    started_at: datetime
    is_synthetic: bool
    verdict: str
    population_status: str
    performance_status: str
    alarm_count: int
    alarms_json: str
    window_first_date: date | None
    window_last_date: date | None
    reference_first_date: date | None
    reference_last_date: date | None
    n_reference_rows: int
    n_scored_rows: int
    n_rows: int
    n_matured_rows: int
    n_positives: int
    n_left_out_rows: int
    psi_watch: float
    psi_alarm: float
    confidence: float
    settings_json: str
