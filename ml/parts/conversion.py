"""Will this session still convert? The part of a run that fits, chooses, judges, explains and scores the models."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial

import numpy as np

from ml.conversion.bands import Thresholds
from ml.conversion.calibration import calibrate
from ml.conversion.catboost import CatBoostModel
from ml.conversion.curve import calibration_curve
from ml.conversion.evaluate import evaluate, slices_of
from ml.conversion.explain import explain
from ml.conversion.logistic import LogisticModel
from ml.conversion.model import Model, Training
from ml.conversion.xgboost import XGBoostModel
from ml.data.checked import Checked
from ml.data.split import NAMES, sample_negatives, split_by_time
from ml.files import write_json
from ml.parts.outcome import Outcome
from ml.publish.artifacts import model_version, save_model
from ml.publish.files import write_csv
from ml.publish.runs import run_record
from ml.publish.tables import prediction_rows, publication, rows_of
from ml.reports.figures import TITLES, draw_figures
from ml.reports.model_card import RunFacts, metric_text, model_card
from ml.run import Run, Stamp


def train_conversion(run: Run, checked: Checked) -> Outcome:
    """Split, fit, calibrate, choose, judge, explain and score.

    Parameters
    ----------
    run : Run
        The run; its folder takes the files.
    checked : Checked
        Rows that passed the gates.

    Returns
    -------
    Outcome
        Tables to publish and what was found.

    Raises
    ------
    FunneliftError
        When there are too few conversions to learn from.
    """
    config, mart, data = run.config, checked.mart, checked.data
    slices = split_by_time(data, config.split)
    train_rows, calibration_rows, test_rows = map(slices.rows, ("train", "calibration", "test"))
    chosen, weights = sample_negatives(train_rows, data.label, config.sampling, config.seed)
    training = Training(
        inputs=data.inputs.iloc[chosen],
        label=data.label[chosen],
        weights=weights,
        stop_inputs=data.inputs.iloc[calibration_rows],
        stop_label=data.label[calibration_rows],
        mart=mart,
        seed=config.seed,
        threads=config.threads,
    )
    candidates = {}
    fits: dict[str, Callable[[], Model]] = {
        CatBoostModel.name: partial(CatBoostModel.fit, training, config.models.catboost),
        XGBoostModel.name: partial(XGBoostModel.fit, training, config.models.xgboost),
        LogisticModel.name: partial(LogisticModel.fit, training, config.models.logistic),
    }
    for model_name, fit in fits.items():
        with run.progress.step(f"fitting and calibrating {TITLES[model_name]}"):
            model = fit()
            candidates[model_name] = calibrate(
                model,
                model.margin(training.stop_inputs),
                training.stop_label,
                data.visitor[calibration_rows],
                config.calibration,
            )
    champion = min(candidates.values(), key=lambda candidate: candidate.log_loss)

    test_label = data.label[test_rows]
    with run.progress.step("judging all models on the test slice"):
        test_inputs = data.inputs.iloc[test_rows]
        probabilities = {name: candidate.probability(test_inputs) for name, candidate in candidates.items()}
        test_slices = slices_of(data, test_rows, train_rows)
        metrics = evaluate(
            probabilities,
            test_label,
            data.visitor[test_rows],
            test_slices,
            bins=config.calibration.bins,
            bootstrap=config.bootstrap(config.evaluation.bootstrap_resamples),
        )
        bins = [
            entry
            for model_name, probability in probabilities.items()
            for name, rows in test_slices.items()
            if name == "overall" or name.startswith("decision_point=")
            for entry in calibration_curve(
                model_name, name, probability[rows], test_label[rows], config.calibration.bins
            )
        ]
    with run.progress.step("explaining rows the model was not trained on"):
        explained = np.flatnonzero(slices.codes != NAMES.index("train"))
        explanations = explain(
            champion.model,
            data,
            mart,
            explained,
            test_rows,
            config.explanation.plot_rows,
            config.seed,
            config.threads,
        )
    with run.progress.step("scoring every row"):
        probability = champion.probability(data.inputs)
        thresholds = Thresholds.from_rows(data, train_rows, config.risk_bands)

    with run.progress.step("writing files"):
        hashes = save_model(run.folder / "models", champion, candidates["catboost"].model, mart, thresholds)
        finished = datetime.now(UTC)
        stamp = Stamp(run.run_id, model_version(champion.model.name, hashes), finished)
        record = run_record(
            config,
            run.started,
            finished,
            checked.summary,
            data,
            checked.data_sha256,
            slices.codes,
            len(chosen),
            champion,
            hashes,
        )
        predictions = prediction_rows(
            data, probability, thresholds, slices.codes, NAMES, explained, explanations.reasons, stamp
        )
        write_csv(run.folder / "predictions" / "conversion_predictions.csv", predictions)
        write_json(
            run.folder / "metrics" / "model_metrics.json",
            {
                "run_id": run.run_id,
                "model_version": stamp.model_version,
                "is_synthetic": checked.summary.is_synthetic,
                "champion": champion.model.name,
                "calibration_log_loss": {name: candidate.log_losses for name, candidate in candidates.items()},
                "metrics": [asdict(entry) for entry in metrics],
                "calibration_curve": [asdict(entry) for entry in bins],
                "single_feature_auc": [asdict(entry) for entry in checked.single_features],
            },
        )
        draw_figures(
            run.folder / "figures",
            test_label,
            probabilities,
            champion.model.name,
            metrics,
            bins,
            explanations,
            mart,
            checked.summary.is_synthetic,
            config.evaluation.confidence,
            config.seed,
        )
        facts = RunFacts(
            config=config,
            stamp=stamp,
            record=record,
            summary=checked.summary,
            slices=slices,
            candidates=candidates,
            champion=champion.model.name,
            metrics=metrics,
            effects=explanations.effects,
            single_features=checked.single_features,
            expectations=checked.expectations,
            test_point=np.asarray(data.decision_point[test_rows]),
            test_band=thresholds.risk_band(probability[test_rows], data.decision_point[test_rows]),
            test_label=test_label,
            test_probability=probability[test_rows],
        )
        (run.folder / "model_card.md").write_text(model_card(facts), encoding="utf-8")
    return Outcome(
        publications=[
            publication("conversion_predictions", predictions),
            publication("shap_summary", rows_of(explanations.effects, stamp)),
            publication("model_metrics", rows_of(metrics, stamp)),
            publication("calibration_curve", rows_of(bins, stamp)),
            publication("ml_runs", rows_of([record], stamp), append=True),
        ],
        findings=_findings(facts),
    )


def _findings(facts: RunFacts) -> list[str]:
    overall = {
        entry.metric: entry for entry in facts.metrics if (entry.model, entry.slice) == (facts.champion, "overall")
    }
    auc, precision = overall["auc_roc"], overall["average_precision"]
    made_up = "SYNTHETIC data: " if facts.summary.is_synthetic else ""
    rate = float(facts.test_label.mean())
    top = [effect.feature for effect in facts.effects if effect.decision_point == "all"][:3]
    return [
        f"{made_up}{facts.record.session_count:,} sessions, {facts.record.conversion_rate:.3%} convert; "
        f"champion {TITLES[facts.champion]} ({facts.stamp.model_version}).",
        f"Test slice ({auc.n_rows:,} rows, {auc.n_positives:,} converted): AUC {metric_text(auc)}, "
        f"average precision {metric_text(precision)} against a base rate of {rate:.4f}.",
        f"Calibration: predicted {facts.test_probability.mean():.4%}, observed {rate:.4%}, "
        f"expected calibration error {metric_text(overall['expected_calibration_error'], 5)}.",
        f"What moves the score most: {', '.join(top)}. Every row outside training has its three reasons; "
        f"{facts.record.open_row_count:,} rows belong to sessions still open: the ones to act on.",
        f"Files: {facts.config.results}/ (model_card.md, figures/, predictions/, metrics/, models/). Tables in schema "
        "funnelift: conversion_predictions, shap_summary, model_metrics, calibration_curve, ml_runs.",
    ]
