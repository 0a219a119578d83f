"""What a run leaves behind: tables beside the marts, and files that replace the last run's in one go."""

import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ml.config import Config, FunneliftError, RiskBands
from ml.conversion import MODELS, Calibrator, Candidate, Floats, Model
from ml.features import Dataset, Mart
from ml.split import NAMES
from ml.validate import Summary
from ml.warehouse import Publication

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PACKAGES = (
    "catboost",
    "econml",
    "great-expectations",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "shap",
    "statsmodels",
    "xgboost-cpu",
)
CSV_ROWS = 100_000
Entry = TypeVar("Entry")
KEYS = {
    "conversion_predictions": ("session_id", "decision_point"),
    "shap_summary": ("decision_point", "feature"),
    "model_metrics": ("model", "slice", "metric"),
    "calibration_curve": ("model", "slice", "bin"),
    "ml_runs": ("run_id",),
    "uplift_scores": ("session_id", "decision_point"),
    "uplift_metrics": ("learner", "versus", "metric"),
    "uplift_deciles": ("learner", "decile"),
    "roi_projection": ("strategy", "share_percent"),
    "roi_sensitivity": ("cost", "revenue_per_conversion"),
    "roi_gains": ("strategy", "versus"),
    "experiment_plan": ("share_percent",),
    "ab_test_simulation": ("replicate",),
    "uplift_runs": ("run_id",),
}
GRAINS = {
    "conversion_predictions": "One row a session and decision point: the probability that the session still converts, "
    "the risk that it leaves without buying, and the reasons.",
    "shap_summary": "One row a feature at a decision point, or at all of them: how far it moves the champion's score "
    "on the test slice, and which way.",
    "model_metrics": "One row a model, slice of the test rows and metric: its value and interval.",
    "calibration_curve": "One row a model, slice of the test rows and bin of equal count: predicted and observed rate.",
    "ml_runs": "One row a training: settings, data, champion, files and versions; rows are only ever added.",
    "uplift_scores": "One row a session at the experiment's decision point: its arm and outcome where it has them, the "
    "probability of a conversion with and without treatment, the difference, decile, quadrant and slice.",
    "uplift_metrics": "One row a learner and metric of the test slice, or a difference between two learners, with its "
    "interval.",
    "uplift_deciles": "One row a decile of the T-learner's score on the test slice: predicted and observed uplift.",
    "roi_projection": "One row a strategy and share of sessions targeted, in percent: conversions gained, cost and "
    "profit over the horizon, with intervals.",
    "roi_sensitivity": "One row a cost and revenue of a conversion: the share that would be chosen and its profit.",
    "roi_gains": "One row a rival of the uplift strategy: how much more it earns, with its interval.",
    "experiment_plan": "One row a share of sessions, in percent: size, days, smallest lift of an experiment on them.",
    "ab_test_simulation": "One row a simulated run of the planned experiment: measured lift and whether it was found.",
    "uplift_runs": "One row an uplift or policy run: experiment, settings, checks and decisions; rows are only ever "
    "added.",
}
BANDS = ("low", "medium", "high")
CALIBRATOR_FILE, FEATURES_FILE = "calibrator.json", "features.json"


@dataclass(frozen=True)
class Stamp:
    """What every published row carries."""

    run_id: str
    model_version: str
    scored_at: datetime


@dataclass(frozen=True)
class Thresholds:
    """Conversion rates of the training slice and the multiples of them that part the risk bands."""

    rates: dict[str, float]
    overall_rate: float
    bands: RiskBands

    @classmethod
    def from_rows(cls, data: Dataset, rows: npt.NDArray[np.intp], bands: RiskBands) -> "Thresholds":
        """Take the usual rates from rows of the data set.

        Parameters
        ----------
        data : Dataset
            All rows.
        rows : array of int
            Positions of the training slice's rows.
        bands : RiskBands
            Multiples of the usual rate.

        Returns
        -------
        Thresholds
            With a rate for each decision point that has one.
        """
        points = data.decision_point
        codes, label = points.codes[rows], data.label[rows]
        counts = np.bincount(codes, minlength=len(points.categories))
        bought = np.bincount(codes, label, minlength=len(points.categories))
        rates = {
            str(point): float(bought[code] / counts[code])
            for code, point in enumerate(points.categories)
            if bought[code]
        }
        return cls(rates, float(label.mean()), bands)

    def risk_band(self, probability: Floats, points: "pd.Categorical") -> npt.NDArray[np.int8]:
        """Say how likely each row is to leave, compared with the usual at its decision point.

        Parameters
        ----------
        probability : array of float
            Probability of a conversion.
        points : Categorical
            Decision point of the same rows.

        Returns
        -------
        array of int
            Risk of leaving, as a position in `BANDS`.
        """
        usual = np.array([self.rates.get(str(point)) or self.overall_rate for point in points.categories])
        ratio = probability / usual[points.codes]
        edges = [-self.bands.low_from, -self.bands.high_below]
        return np.asarray(np.digitize(-ratio, edges, right=True), dtype=np.int8)


def prediction_rows(
    data: Dataset,
    probability: Floats,
    thresholds: Thresholds,
    dataset_split: npt.NDArray[np.int8],
    split_names: Sequence[str],
    explained: npt.NDArray[np.intp],
    reasons: "Sequence[pa.DictionaryArray]",
    stamp: Stamp,
) -> "pa.Table":
    """Lay out the rows of `conversion_predictions`.

    Parameters
    ----------
    data : Dataset
        The scored rows.
    probability : array of float
        Probability that the session still converts.
    thresholds : Thresholds
        Risk bands.
    dataset_split : array of int
        Slice of each row, as a position in `split_names`.
    split_names : sequence of str
        Names of the slices.
    explained : array of int
        Positions of the rows that have reasons.
    reasons : sequence of pyarrow.DictionaryArray
        One text an explained row, for each reason.
    stamp : Stamp
        Run, model version and time.

    Returns
    -------
    pyarrow.Table
        One row a session and decision point.
    """
    import pyarrow as pa

    place = np.full(len(data), -1, dtype=np.int64)
    place[explained] = np.arange(len(explained))
    mature = data.is_mature == 1
    # Rows without reasons look up a null.
    lookup = pa.array(place, mask=place < 0)
    columns: dict[str, tuple[Any, bool]] = {
        "session_id": (data.identity.column("session_id"), False),
        "decision_point": (data.identity.column("decision_point"), False),
        "visitor_id": (data.identity.column("visitor_id"), False),
        "decided_at": (data.identity.column("decided_at").cast(pa.timestamp("us")), False),
        "probability": (pa.array(probability), False),
        "abandon_probability": (pa.array(1 - probability), False),
        "risk_band": (_coded(thresholds.risk_band(probability, data.decision_point), BANDS), False),
        **{f"reason_{number}": (texts.take(lookup), True) for number, texts in enumerate(reasons, 1)},
        "dataset_split": (_coded(dataset_split, split_names), False),
        "is_mature": (pa.array(data.is_mature.astype(np.int32)), False),
        "has_transaction": (pa.array(data.label.astype(np.int32), mask=~mature), True),
    }
    return stamped(columns, len(data), stamp)


def rows_of(entries: Iterable[Any], stamp: Stamp, kind: type[Any] | None = None) -> "pa.Table":
    """Lay out dataclass instances as a table.

    Parameters
    ----------
    entries : iterable of dataclass instances
        All of one class.
    stamp : Stamp
        Run, model version and time.
    kind : type, optional
        Their class; without it there must be at least one.

    Returns
    -------
    pyarrow.Table
        One row an entry, one column a field; only fields that may be None are nullable.
    """
    import pyarrow as pa

    entries = list(entries)
    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), datetime: pa.timestamp("us")}
    columns = {}
    for field in fields(kind or entries[0]):
        optional = field.type not in types
        own = next(known for known in types if field.type in (known, known | None))
        columns[field.name] = (pa.array([getattr(entry, field.name) for entry in entries], types[own]), optional)
    return stamped(columns, len(entries), stamp)


def entries_of(kind: type[Entry], rows: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """Make dataclass instances of published rows, the reverse of `rows_of`.

    Parameters
    ----------
    kind : type
        The dataclass.
    rows : iterable of mapping
        Column name to value, as a warehouse returns them; other columns are left aside.

    Returns
    -------
    list
        One instance a row.
    """
    convert: dict[Any, Callable[[Any], Any]] = {bool: bool, int: int, float: float, str: str, datetime: lambda at: at}
    converters = {
        field.name: next(convert[known] for known in convert if field.type in (known, known | None))
        for field in fields(kind)  # type: ignore[arg-type]
    }
    return [
        kind(**{name: None if row[name] is None else to(row[name]) for name, to in converters.items()}) for row in rows
    ]


def publication(name: str, rows: "pa.Table", *, append: bool = False) -> Publication:
    """Name a table's rows, key and grain for the warehouse.

    Parameters
    ----------
    name : str
        One of the tables in `KEYS`.
    rows : pyarrow.Table
        Its rows.
    append : bool
        Whether they are added to the table instead of replacing it.

    Returns
    -------
    Publication
        Ready to write.
    """
    return Publication(name, rows, KEYS[name], append, GRAINS[name])


@contextmanager
def staged_files(results: Path, run_id: str) -> Iterator[Path]:
    """Collect a run's files in a folder of their own and move them into place when the block succeeds.

    Parameters
    ----------
    results : Path
        Where the files belong.
    run_id : str
        Name of the run.

    Yields
    ------
    Path
        Folder with the same layout as `results`. Whatever it holds at the end replaces the file of the same name;
        after a failure nothing does.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        staging = results / f".{run_id}"
        staging.mkdir()
    except OSError as error:
        raise FunneliftError(
            f"cannot write results to {results}: {error.strerror} (--results, FUNNELIFT_RESULTS)"
        ) from None
    try:
        yield staging
        written = [path.name for path in staging.rglob("*")]
        for path in sorted(staging.rglob("*")):
            if path.is_file():
                final = results / path.relative_to(staging)
                final.parent.mkdir(parents=True, exist_ok=True)
                path.replace(final)
        # The last run's champion must not lie beside this one's as if it were in use.
        for model in MODELS.values():
            if CALIBRATOR_FILE in written and model.file_name not in written:
                (results / "models" / model.file_name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def save_model(
    folder: Path, champion: Candidate, catboost: Model, mart: Mart, thresholds: Thresholds
) -> dict[str, str]:
    """Save all that scoring needs: champion, calibrator, features and thresholds; and always the CatBoost model.

    Parameters
    ----------
    folder : Path
        Where the files go.
    champion : Candidate
        The model that scores.
    catboost : Model
        The CatBoost model, champion or not.
    mart : Mart
        Features.
    thresholds : Thresholds
        Risk bands.

    Returns
    -------
    dict
        File name to SHA-256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    champion.model.save(folder / champion.model.file_name)
    catboost.save(folder / catboost.file_name)
    write_json(
        folder / CALIBRATOR_FILE,
        {"model": champion.model.name, "model_file": champion.model.file_name, **asdict(champion.calibrator)},
    )
    write_json(
        folder / FEATURES_FILE,
        {
            "features": features_signature(mart),
            "label": mart.label,
            "rates": thresholds.rates,
            "overall_rate": thresholds.overall_rate,
            "risk_bands": thresholds.bands.model_dump(),
        },
    )
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir())}


def load_model(folder: Path, mart: Mart, threads: int) -> tuple[Candidate, Thresholds]:
    """Load what `save_model` saved; the caller has checked the files' hashes.

    Parameters
    ----------
    folder : Path
        Where the files are.
    mart : Mart
        Features.
    threads : int
        Threads to use.

    Returns
    -------
    Candidate
        The champion.
    Thresholds
        Risk bands.
    """
    saved = json.loads((folder / CALIBRATOR_FILE).read_text(encoding="utf-8"))
    features = json.loads((folder / FEATURES_FILE).read_text(encoding="utf-8"))
    model = MODELS[saved["model"]].load(folder / saved["model_file"], mart, threads)
    calibrator = Calibrator(saved["method"], tuple(saved["knots"]), tuple(saved["values"]))
    thresholds = Thresholds(features["rates"], features["overall_rate"], RiskBands(**features["risk_bands"]))
    return Candidate(model, calibrator, {}), thresholds


def features_signature(mart: Mart) -> list[dict[str, str]]:
    """Return what a saved model must agree on with the mart: names, kinds and types of the features, in order.

    Parameters
    ----------
    mart : Mart
        Features.

    Returns
    -------
    list of dict
        One a feature.
    """
    types = {"numeric": "float32", "categorical": "text"}
    return [
        {"name": feature.name, "group": feature.group, "kind": feature.kind, "dtype": types[feature.kind]}
        for feature in mart.features
    ]


def write_csv(path: Path, rows: "pa.Table") -> None:
    """Write a table as CSV, a batch at a time.

    Parameters
    ----------
    path : Path
        File to write.
    rows : pyarrow.Table
        Its rows.
    """
    import pyarrow as pa
    from pyarrow import csv

    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(
        [
            pa.field(field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
            for field in rows.schema
        ]
    )
    with csv.CSVWriter(path, schema, write_options=csv.WriteOptions(quoting_style="needed")) as writer:
        for start in range(0, len(rows), CSV_ROWS):
            writer.write_table(rows.slice(start, CSV_ROWS).cast(schema))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that two people can compare line by line.

    Parameters
    ----------
    path : Path
        File to write.
    content : mapping
        Anything that JSON knows; NaN is refused.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_version(champion: str, hashes: Mapping[str, str]) -> str:
    """Name a model by what is in its files, so that equal models have equal names.

    Parameters
    ----------
    champion : str
        Name of the champion.
    hashes : mapping
        SHA-256 of each file that scoring uses.

    Returns
    -------
    str
        The champion's name and twelve hexadecimal digits.
    """
    together = hashlib.sha256("".join(hashes[name] for name in sorted(hashes)).encode()).hexdigest()
    return f"{champion}-{together[:12]}"


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
    config: Config,
    started_at: datetime,
    finished_at: datetime,
    summary: Summary,
    data: Dataset,
    data_sha256: str,
    split_codes: npt.NDArray[np.int8],
    trained_rows: int,
    champion: Candidate,
    hashes: Mapping[str, str],
) -> RunRecord:
    """Put a run's row for `ml_runs` together.

    Parameters
    ----------
    config : Config
        Settings of the run.
    started_at, finished_at : datetime
        Times in UTC.
    summary : Summary
        The data set in numbers.
    data : Dataset
        All rows.
    data_sha256 : str
        Their fingerprint.
    split_codes : array of int
        Slice of each row.
    trained_rows : int
        Rows left after sampling.
    champion : Candidate
        The champion.
    hashes : mapping
        SHA-256 of each model file.

    Returns
    -------
    RunRecord
        The row, without the stamp.
    """
    counts = dict(zip(NAMES, np.bincount(split_codes, minlength=len(NAMES)).tolist(), strict=True))
    return RunRecord(
        target=config.target,
        started_at=started_at,
        finished_at=finished_at,
        seed=config.seed,
        is_synthetic=summary.is_synthetic,
        data_sha256=data_sha256,
        session_count=summary.sessions,
        converting_session_count=summary.converting_sessions,
        conversion_rate=summary.conversion_rate,
        feature_row_count=len(data),
        trained_row_count=trained_rows,
        **{f"{name}_row_count": count for name, count in counts.items()},
        champion=champion.model.name,
        champion_file=champion.model.file_name,
        model_sha256=hashes[champion.model.file_name],
        catboost_sha256=hashes[MODELS["catboost"].file_name],
        calibrator_sha256=hashes[CALIBRATOR_FILE],
        features_sha256=hashes[FEATURES_FILE],
        config_json=settings_json(config),
        package_versions_json=json.dumps(package_versions()),
        git_commit=git_commit(),
    )


def run_name(started: datetime) -> str:
    """Name a run by its start, to the millisecond, so that names sort by time.

    Parameters
    ----------
    started : datetime
        Start in UTC.

    Returns
    -------
    str
        Such as 20150503T030000000Z.
    """
    return f"{started:%Y%m%dT%H%M%S}{started.microsecond // 1000:03d}Z"


def settings_json(config: Config) -> str:
    """Write the settings that explain a run's numbers; where it ran and wrote is left out.

    Parameters
    ----------
    config : Config
        Settings.

    Returns
    -------
    str
        JSON.
    """
    return json.dumps(config.model_dump(mode="json", exclude={"duckdb_path", "results", "manifest"}))


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on.

    Returns
    -------
    dict
        Name to version.
    """
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def git_commit() -> str | None:
    """Return the commit of the code that runs.

    Returns
    -------
    str or None
        Hash; None where there is no git or no repository.
    """
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def stamped(columns: Mapping[str, tuple[Any, bool]], rows: int, stamp: Stamp) -> "pa.Table":
    """Put columns together and add the stamp.

    Parameters
    ----------
    columns : mapping
        Column name to values and whether they may be null.
    rows : int
        Number of rows.
    stamp : Stamp
        Run, model version and time.

    Returns
    -------
    pyarrow.Table
        The columns, then run_id, model_version and scored_at.
    """
    import pyarrow as pa

    stamps = {
        "run_id": pa.scalar(stamp.run_id, pa.string()),
        "model_version": pa.scalar(stamp.model_version, pa.string()),
        "scored_at": pa.scalar(stamp.scored_at.replace(tzinfo=None), pa.timestamp("us")),
    }
    complete = dict(columns) | {name: (pa.repeat(value, rows), False) for name, value in stamps.items()}
    schema = pa.schema([pa.field(name, array.type, nullable) for name, (array, nullable) in complete.items()])
    return pa.Table.from_arrays([array for array, _ in complete.values()], schema=schema)


def _coded(codes: npt.NDArray[np.int8], names: Sequence[str]) -> "pa.DictionaryArray":
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.string()))
