"""Will this session still convert? The part of a run that fits, chooses, evaluates, explains and scores the models."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ml.arrays import Rows
from ml.conversion.calibration import Fit
from ml.conversion.candidates import choose_champion, fit_candidates, training_rows
from ml.conversion.constants import Constants
from ml.conversion.curve import CalibrationBin
from ml.conversion.evaluate import Metric, evaluate
from ml.conversion.explain import FeatureEffect, explain
from ml.conversion.predictions import predict
from ml.data.checked import Checked
from ml.data.draw import some_visitors
from ml.data.features import MART, PREDICTIONS
from ml.data.gates import REBUILD, GateError
from ml.data.split import SPLITS
from ml.files import write_json
from ml.parts.outcome import Outcome
from ml.parts.succession import judge
from ml.publish.artifacts import CALIBRATOR_FILE, FEATURES_FILE, model_version, save_model
from ml.publish.predictions import prediction_rows, write_predictions
from ml.publish.registry import PUBLISHED, RUNS, next_number, succession
from ml.publish.releases import put_in_place, write_tables
from ml.publish.runs import RunRecord, run_record
from ml.publish.tables import publication
from ml.publish.workers import SplitScorer, model_files
from ml.reports.conversion_facts import ConversionFacts, metric_text
from ml.reports.figures import draw_figures
from ml.reports.model_card import model_card
from ml.run import Run, Stamp
from warehouse.base import Publication, Warehouse
from warehouse.contract import Contracts
from warehouse.workers import Handed, WarehouseWithWorkers


def train_conversion(run: Run, checked: Checked, warehouse: Warehouse, *, force: bool = False) -> Outcome:
    """Split, fit, calibrate, choose, evaluate, compare with the published run, explain and score.

    Parameters
    ----------
    run : Run
        The run; its folder takes the files.
    checked : Checked
        Rows that passed the gates.
    warehouse : Warehouse
        Where the registry is.
    force : bool
        Whether the run is published even if its champion is worse than the published one.

    Returns
    -------
    Outcome
        Tables to publish and what was found; of a run that is refused the registry's row alone.

    Raises
    ------
    FunneliftError
        When there are too few conversions to learn from.
    """
    config, progress, data, splits = run.config, run.progress, checked.data, checked.splits
    fitted = _fitted(run, checked)
    candidates = fitted.candidates
    champion = choose_champion(candidates, data, fitted.calibration, config.risk_bands, fitted.constants)
    with progress.step("evaluating all models on the test split"):
        bootstrap, of = config.bootstrap(config.evaluation.bootstrap_resamples), checked.of_splits["test"].rows
        test = some_visitors(data, splits.rows("test"), config.evaluation.max_rows, of)
        evaluation = evaluate(
            candidates, data, test, checked.is_seen(test),
            split_rows=of, bins=config.calibration.bins, bootstrap=bootstrap,
        )  # fmt: skip
    verdict = judge(run, checked, test, champion, warehouse, force=force)
    # Where workers score the rows, they give the reasons.
    explained = test if checked.elsewhere else np.flatnonzero(splits.codes != SPLITS.index("train"))
    with progress.step("explaining rows the model was not trained on"):
        explanation = explain(
            champion, data, explained, evaluation.rows,
            plot_rows=config.explanation.plot_rows, seed=config.seed, threads=config.threads,
        )  # fmt: skip
    with progress.step(f"scoring {len(data):,} rows"):
        predictions = predict(champion, data, splits.names, explained, explanation.reasons)
    with progress.step("writing files"):
        hashes = save_model(run.models, champion, candidates["catboost"].model)
        version = model_version(champion.model.name, hashes)
        stamp = Stamp(run.run_id, version, datetime.now(UTC), is_synthetic=checked.summary.is_synthetic)
        seen = np.unique(np.concatenate([fitted.trained, fitted.calibration, test]))
        record = run_record(
            run, checked, champion.model,
            verdict=verdict, run_number=next_number(warehouse, run.contracts[RUNS]),
            trained_rows=len(fitted.trained), data_sha256=data.fingerprint(seen), hashes=hashes,
            finished=stamp.scored_at,
        )  # fmt: skip
        facts = ConversionFacts(
            config, stamp, record, checked,
            candidates=candidates, champion=champion.model,
            evaluation=evaluation, explanation=explanation, predictions=predictions,
        )  # fmt: skip
    return _outcome(run, facts, warehouse)


@dataclass(frozen=True)
class _Fitted:
    """The models, the rows on which they were fitted and calibrated, and what they could not learn from."""

    candidates: dict[str, Fit]
    trained: Rows
    constants: Constants
    calibration: Rows


def _fitted(run: Run, checked: Checked) -> _Fitted:
    """Fit every model; the rows themselves are let go."""
    data, of, config = checked.data, checked.of_splits, run.config
    train, calibration = (checked.splits.rows(name) for name in ("train", "calibration"))
    calibration = some_visitors(data, calibration, config.calibration.max_rows, of["calibration"].rows)
    training, trained = training_rows(data, checked.mart, train, calibration, config, of=of["train"])
    candidates = fit_candidates(training, data, calibration, config, run.progress)
    return _Fitted(candidates, trained, Constants.from_rows(training.inputs), calibration)


def _outcome(run: Run, facts: ConversionFacts, warehouse: Warehouse) -> Outcome:
    """Write the files and lay out the tables; those of a refused run stay in the folder of its models."""
    contracts, stamp, record = run.contracts, facts.stamp, facts.record
    findings_tables = _findings_tables(contracts, facts)
    registered = publication(contracts[RUNS], RunRecord, [record], stamp).rows
    registry = succession(warehouse, contracts[RUNS], registered)
    _write_release(run.models, facts, findings_tables)
    if record.status != PUBLISHED:
        return Outcome([registry], _findings(facts), refusal=record.status_reason)
    put_in_place(run.models, run.folder)
    predictions = _predictions(run, facts, warehouse)
    with run.progress.step("writing the predictions"):
        write_predictions(run.folder, predictions, run.config.predictions_csv_max_rows)
    return Outcome([predictions, *findings_tables, registry], _findings(facts), {PREDICTIONS: stamp})


def _predictions(run: Run, facts: ConversionFacts, warehouse: Warehouse) -> Publication:
    """The predictions of all rows, here or by the engine's workers."""
    contract, stamp, checked = run.contracts[PREDICTIONS], facts.stamp, facts.checked
    if checked.elsewhere is None or not isinstance(warehouse, WarehouseWithWorkers):
        return Publication(contract, prediction_rows(facts.predictions, stamp, contract))
    files = model_files(run.models, [facts.record.champion_file, CALIBRATOR_FILE, FEATURES_FILE])
    scorer = SplitScorer(checked.mart, contract, stamp, checked.elsewhere.rule, files)
    with run.progress.step("scoring and explaining every row, on the workers"):
        made = warehouse.make(contract, Handed(MART, checked.mart.columns, scorer))
    if made.row_count != facts.record.feature_row_count:
        raise GateError("row count", "rows scored", facts.record.feature_row_count, made.row_count, REBUILD)
    return made


def _findings_tables(contracts: Contracts, facts: ConversionFacts) -> list[Publication]:
    tables: dict[str, tuple[type[Any], Sequence[Any]]] = {
        "shap_summary": (FeatureEffect, facts.explanation.effects),
        "model_metrics": (Metric, facts.evaluation.metrics),
        "calibration_curve": (CalibrationBin, facts.evaluation.curves),
    }
    return [publication(contracts[name], kind, entries, facts.stamp) for name, (kind, entries) in tables.items()]


def _write_release(folder: Path, facts: ConversionFacts, tables: Sequence[Publication]) -> None:
    """Write what a run shows beside its models, so that rolling back can show it again."""
    write_tables(folder, tables)
    write_json(
        folder / "metrics" / "model_metrics.json",
        {
            "run_id": facts.stamp.run_id,
            "model_version": facts.stamp.model_version,
            "is_synthetic": facts.stamp.is_synthetic,
            "champion": facts.champion.name,
            "calibration_log_loss": {name: fit.log_losses for name, fit in facts.candidates.items()},
            "metrics": [asdict(entry) for entry in facts.evaluation.metrics],
            "calibration_curve": [asdict(entry) for entry in facts.evaluation.curves],
            "single_feature_auc": [asdict(entry) for entry in facts.checked.single_features],
        },
    )
    draw_figures(folder / "figures", facts)
    (folder / "model_card.md").write_text(model_card(facts), encoding="utf-8")


def _findings(facts: ConversionFacts) -> list[str]:
    overall, record = facts.evaluation.overall(facts.champion.name), facts.record
    auc, precision = overall["auc_roc"], overall["average_precision"]
    made_up = "SYNTHETIC data: " if facts.stamp.is_synthetic else ""
    rate = float(facts.evaluation.label.mean())
    predicted = facts.predictions.probability[facts.evaluation.rows].mean()
    of_all = f"of {facts.evaluation.split_rows:,} rows, all of some visitors" if facts.evaluation.is_sample else "rows"
    told, rows = facts.checked.summary.wrong_clocks, record.implausible_row_count
    top = [effect.feature for effect in facts.explanation.effects if effect.decision_point == "all"][:3]
    return [
        f"{made_up}{record.session_count:,} sessions, {record.conversion_rate:.3%} convert; "
        f"champion {facts.champion.title} ({facts.stamp.model_version}).",
        f"Test split ({auc.n_rows:,} {of_all}, {auc.n_positives:,} converted): AUC {metric_text(auc)}, "
        f"average precision {metric_text(precision)} against a baseline rate of {rate:.4f}.",
        f"Calibration: predicted {predicted:.4%}, observed {rate:.4%}, "
        f"expected calibration error {metric_text(overall['expected_calibration_error'], 5)}.",
        *([f"Wrong clocks: {told}. {rows:,} rows of closed sessions among them are scored only."] if told else []),
        f"Compared with the run before it: {record.status_reason}",
        f"What moves the score most: {', '.join(top)}. Every row outside training has its three reasons; "
        f"{record.open_row_count:,} rows belong to sessions still open: the ones to act on.",
        f"Files: {facts.config.results}/ (model_card.md, figures/, predictions/, metrics/, models/). Tables in schema "
        "funnelift: conversion_predictions, shap_summary, model_metrics, calibration_curve, ml_runs.",
    ]
