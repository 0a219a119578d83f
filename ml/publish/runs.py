"""The registry of runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ml.conversion.model import Model
from ml.conversion.models import MODELS
from ml.data.checked import Checked
from ml.data.split import SPLITS, Splits
from ml.publish.artifacts import CALIBRATOR_FILE, FEATURES_FILE
from ml.run import Run, git_commit, package_versions, settings_json


@dataclass(frozen=True)
class RunRecord:
    """One row of `ml_runs`: everything that explains or repeats a training. Rows are only ever added."""

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
    config_json: str
    package_versions_json: str
    git_commit: str | None


def run_record(
    run: Run,
    checked: Checked,
    splits: Splits,
    champion: Model,
    *,
    trained_rows: int,
    hashes: Mapping[str, str],
    finished: datetime,
) -> RunRecord:
    """Put a run's row for `ml_runs` together.

    Parameters
    ----------
    run : Run
        Settings and start.
    checked : Checked
        All rows, and the data set in numbers.
    splits : Splits
        Split of each row.
    champion : Model
        The model that scores.
    trained_rows : int
        Rows left after sampling.
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
    counts = {f"{name}_row_count": len(splits.rows(name)) for name in SPLITS}
    return RunRecord(
        target=config.target,
        started_at=run.started,
        finished_at=finished,
        seed=config.seed,
        is_synthetic=summary.is_synthetic,
        data_sha256=checked.data_sha256,
        session_count=summary.sessions,
        converting_session_count=summary.converting_sessions,
        conversion_rate=summary.conversion_rate,
        feature_row_count=len(checked.data),
        trained_row_count=trained_rows,
        **counts,
        champion=champion.name,
        champion_file=champion.file_name,
        model_sha256=hashes[champion.file_name],
        catboost_sha256=hashes[MODELS["catboost"].file_name],
        calibrator_sha256=hashes[CALIBRATOR_FILE],
        features_sha256=hashes[FEATURES_FILE],
        config_json=settings_json(config),
        package_versions_json=json.dumps(package_versions()),
        git_commit=git_commit(),
    )


@dataclass(frozen=True)
class UpliftRun:
    """One row of `uplift_runs`: what a run learnt from, found and decided. Rows are only ever added."""

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
