"""The registry of runs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ml.conversion.model import Model
from ml.conversion.models import MODELS
from ml.data.checked import Checked
from ml.publish.artifacts import CALIBRATOR_FILE, FEATURES_FILE
from ml.publish.registry import PUBLISHED
from ml.run import Run, git_commit, package_versions, settings_json


@dataclass(frozen=True)
class Verdict:
    """Whether a run is published, why, and how its log loss compares with that of the run published before.

    The difference is the run's less the other's; None where the two could not be compared.
    """

    status: str
    status_reason: str
    compared_run_id: str | None = None
    log_loss_difference: float | None = None
    log_loss_difference_ci_lower: float | None = None
    log_loss_difference_ci_upper: float | None = None

    @property
    def is_published(self) -> bool:
        """Whether the run's champion takes the published one's place."""
        return self.status == PUBLISHED


@dataclass(frozen=True)
class RunRecord:
    """One row of `ml_runs`: everything that explains or repeats a training, and what became of it."""

    run_number: int
    status: str
    status_reason: str
    published_at: datetime | None
    compared_run_id: str | None
    log_loss_difference: float | None
    log_loss_difference_ci_lower: float | None
    log_loss_difference_ci_upper: float | None
    target: str
    started_at: datetime
    finished_at: datetime
    seed: int
    is_synthetic: bool
    data_sha256: str
    session_count: int
    converting_session_count: int
    conversion_rate: float
    feature_row_count: int
    trained_row_count: int
    train_row_count: int
    calibration_row_count: int
    test_row_count: int
    embargo_row_count: int
    open_row_count: int
    implausible_row_count: int
    champion: str
    champion_file: str
    model_sha256: str
    catboost_sha256: str
    calibrator_sha256: str
    features_sha256: str
    splits_json: str
    config_json: str
    package_versions_json: str
    git_commit: str | None


def run_record(
    run: Run,
    checked: Checked,
    champion: Model,
    *,
    verdict: Verdict,
    run_number: int,
    trained_rows: int,
    data_sha256: str,
    hashes: Mapping[str, str],
    finished: datetime,
) -> RunRecord:
    """Put a run's row for `ml_runs` together.

    Parameters
    ----------
    run : Run
        Settings and start.
    checked : Checked
        The data set in numbers.
    champion : Model
        The model that scores.
    verdict : Verdict
        Whether it is published, and why.
    run_number : int
        Place of the run among all.
    trained_rows : int
        Rows left after sampling.
    data_sha256 : str
        Fingerprint of the rows that the run learnt from and was evaluated on.
    hashes : mapping
        SHA-256 of each model file.
    finished : datetime
        End in UTC.

    Returns
    -------
    RunRecord
        The row, without the stamp.
    """
    summary, config = checked.summary, run.config
    counts: dict[str, Any] = {f"{name}_row_count": classes.rows for name, classes in checked.of_splits.items()}
    return RunRecord(
        run_number=run_number,
        **vars(verdict),
        published_at=finished if verdict.is_published else None,
        target=config.target,
        started_at=run.started,
        finished_at=finished,
        seed=config.seed,
        is_synthetic=summary.is_synthetic,
        data_sha256=data_sha256,
        session_count=summary.sessions,
        converting_session_count=summary.converting_sessions,
        conversion_rate=summary.conversion_rate,
        feature_row_count=sum(classes.rows for classes in checked.of_splits.values()),
        trained_row_count=trained_rows,
        **counts,
        champion=champion.name,
        champion_file=champion.file_name,
        model_sha256=hashes[champion.file_name],
        catboost_sha256=hashes[MODELS["catboost"].file_name],
        calibrator_sha256=hashes[CALIBRATOR_FILE],
        features_sha256=hashes[FEATURES_FILE],
        splits_json=json.dumps(asdict(checked.splits.bounds)),
        config_json=settings_json(config),
        package_versions_json=json.dumps(package_versions()),
        git_commit=git_commit(),
    )


@dataclass(frozen=True)
class UpliftRun:
    """One row of `uplift_runs`: what a run learnt from, found and decided, and what became of it."""

    run_number: int
    status: str
    model_run_id: str
    files_json: str
    part: str
    target: str
    started_at: datetime
    finished_at: datetime
    seed: int
    source: str
    decision_point: str
    is_simulated: bool
    is_synthetic: bool
    data_sha256: str
    row_count: int
    visitors_treatment: int
    visitors_control: int
    sample_ratio_p: float | None
    balance_covariate: str | None
    balance_smd: float | None
    balance_p: float | None
    train_row_count: int
    calibration_row_count: int
    test_row_count: int
    test_first_at: datetime
    test_last_at: datetime
    sessions_per_day: float
    baseline_rate: float
    effect_shrinkage: float
    pehe: float | None
    pehe_constant: float | None
    chosen_share_percent: int | None
    break_even_share_percent: int | None
    break_even_cost: float | None
    warnings_json: str
    config_json: str
    package_versions_json: str
    git_commit: str | None

    @property
    def worst_balance(self) -> tuple[str, float, float] | None:
        """The feature in which the arms differ most: name, standardised mean difference, p-value."""
        if self.balance_covariate is None or self.balance_smd is None or self.balance_p is None:
            return None
        return self.balance_covariate, self.balance_smd, self.balance_p
