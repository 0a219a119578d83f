"""Rows of the prediction tables."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from ml.run import Stamp
from warehouse.base import Publication

if TYPE_CHECKING:
    import pyarrow as pa

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
