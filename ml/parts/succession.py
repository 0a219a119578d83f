"""Does a new champion take the published one's place? Only if it is not worse on rows that neither learnt from."""

import json
from pathlib import Path

import numpy as np

from ml.arrays import Rows
from ml.conversion.champion import Champion
from ml.conversion.succession import Difference, log_loss_difference
from ml.data.checked import Checked
from ml.data.features import PREDICTIONS
from ml.data.rows import renumbered
from ml.files import model_folder
from ml.publish.artifacts import ModelError, SavedModel, load_model
from ml.publish.registry import PUBLISHED, REFUSED, RUNS, names_run, published_run
from ml.publish.runs import Verdict
from ml.publish.tables import entries_of
from ml.run import Run
from warehouse.base import Warehouse


def judge(run: Run, checked: Checked, test: Rows, champion: Champion, warehouse: Warehouse, *, force: bool) -> Verdict:
    """Decide whether a run is published.

    Parameters
    ----------
    run : Run
        The run.
    checked : Checked
        Rows.
    test : ndarray of int
        Positions of the test rows that are evaluated.
    champion : Champion
        The run's champion.
    warehouse : Warehouse
        Where the published run is registered.
    force : bool
        Whether it is published even if it is worse.

    Returns
    -------
    Verdict
        Published, unless the published run's champion is better on the common test rows beyond the interval.
    """
    published = published_run(warehouse, RUNS)
    if published is None:
        return Verdict(PUBLISHED, "No run was published before it.")
    (former,) = entries_of(SavedModel, [published])
    obstacle = _obstacle(run, checked, former, warehouse)
    rows = _common_rows(test, checked, former)
    fewest = run.config.split.min_positives
    if obstacle is None and checked.data.label[rows].sum() < fewest:
        obstacle = f"fewer than {fewest} converting test rows are later than what it learnt from"
    if obstacle is not None:
        return Verdict(PUBLISHED, f"Not compared with run {former.run_id}: {obstacle}.")
    with run.progress.step(f"comparing with the published run {former.run_id}"):
        found = _difference(run, checked, rows, champion, former)
    reason = (
        f"Log loss {found.value:+.6f} [{found.ci_lower:+.6f}, {found.ci_upper:+.6f}] against run {former.run_id} "
        f"on {found.n_rows:,} common test rows: {_called(found)}{', published by --force' if force else ''}."
    )
    status = REFUSED if found.is_worse and not force else PUBLISHED
    return Verdict(status, reason, former.run_id, found.value, found.ci_lower, found.ci_upper)


def _called(found: Difference) -> str:
    if found.is_worse:
        return "worse"
    return "better" if found.ci_upper < 0 else "no worse"


def _obstacle(run: Run, checked: Checked, former: SavedModel, warehouse: Warehouse) -> str | None:
    """Say why the published run's champion cannot score today's rows, if it cannot."""
    if former.is_synthetic != checked.summary.is_synthetic:
        kinds = {True: "synthetic", False: "real"}
        return f"it learnt from {kinds[former.is_synthetic]} data, and these are {kinds[checked.summary.is_synthetic]}"
    if not names_run(warehouse, PREDICTIONS, former.run_id):
        return f"{PREDICTIONS} holds no predictions of it"
    try:
        former.check(_folder(run, former), checked.mart)
    except ModelError as error:
        return error.short
    return None


def _common_rows(test: Rows, checked: Checked, former: SavedModel) -> Rows:
    """Test rows that are later than everything that the former champion was fitted, calibrated and chosen on."""
    return np.asarray(test[checked.data.decided_ms[test] >= json.loads(former.splits_json)["test_ms"]])


def _difference(run: Run, checked: Checked, rows: Rows, champion: Champion, former: SavedModel) -> Difference:
    before = load_model(_folder(run, former), checked.mart, run.config.threads)
    said = [(champion.probability(part), before.probability(part)) for part in checked.data.parts(rows)]
    new, old = (np.concatenate(each) for each in zip(*said, strict=True))
    bootstrap = run.config.bootstrap(run.config.evaluation.bootstrap_resamples)
    return log_loss_difference(new, old, checked.data.label[rows], renumbered(checked.data.visitor[rows]), bootstrap)


def _folder(run: Run, former: SavedModel) -> Path:
    return model_folder(run.config.results, former.run_id)
