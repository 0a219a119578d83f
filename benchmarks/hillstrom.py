"""Our learners beside scikit-uplift's two-model approach on the real Hillstrom e-mail test, same splits, same run.

    python -m benchmarks.hillstrom FILE [--outcome visit] [--splits 10]

FILE is the randomised e-mail campaign of the MineThatData challenge: `Womens E-Mail` against `No E-Mail`. Each split
draws train, calibration and test splits anew. Ours learn from the training and the calibration split, and by the same
rows one is chosen. scikit-uplift's two models learn from both splits too, once with CatBoost's defaults and once with
our settings. All are evaluated on the test split by scikit-uplift's own metric.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from catboost import CatBoostClassifier
from sklift.metrics import qini_auc_score
from sklift.models import TwoModels
from threadpoolctl import threadpool_limits

from benchmarks.uplift_study import Silent
from ml.config import Config, load_config
from ml.experiment.file import Columns, from_file
from ml.uplift.learners import fit_learners
from ml.uplift.names import CHOSEN
from ml.uplift.scores import score_rows

OTHER_OUTCOMES = {"visit", "conversion", "spend"}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Qini coefficients on the Hillstrom e-mail test.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--outcome", default="visit", choices=("visit", "conversion"))
    parser.add_argument("--splits", type=int, default=10)
    options = parser.parse_args()
    with threadpool_limits(1, user_api="blas"):
        found = [one_split(options.file, options.outcome, seed) for seed in range(options.splits)]
    names = list(found[0])
    values = np.array([[split[name] for name in names] for split in found])
    report = {
        name: {"mean": float(values[:, at].mean()), "standard error": float(values[:, at].std() / len(found) ** 0.5)}
        for at, name in enumerate(names)
    }
    own, challenger = values[:, names.index(CHOSEN)], values[:, names.index("scikit-uplift, defaults")]
    ahead = int((own >= challenger).sum())
    summary = {"outcome": options.outcome, "splits": len(found), "qini": report}
    print(json.dumps(summary | {"splits in which our choice is ahead": ahead}, indent=2))


def one_split(path: Path, outcome: str, seed: int) -> dict[str, float]:
    """Return the test Qini coefficient of every learner on one split."""
    config = load_config(None, {"seed": seed}, {})
    ignored = tuple(sorted(OTHER_OUTCOMES - {outcome}))
    found = from_file(path, Columns("segment", outcome, "Womens E-Mail", "No E-Mail", ignore=ignored), config)
    experiment = found.experiment
    scores = score_rows(experiment, fit_learners(experiment, found.mart, config, Silent()), seed).by_learner
    learn = np.concatenate([experiment.rows("train"), experiment.rows("calibration")])
    inputs = experiment.inputs.copy()
    for name in experiment.categorical:
        inputs[name] = inputs[name].astype(str)
    for title, settings in {"scikit-uplift, defaults": {}, "scikit-uplift, our settings": ours(config)}.items():
        arms = [
            CatBoostClassifier(
                cat_features=list(experiment.categorical), random_seed=seed, silent=True, thread_count=2,
                allow_writing_files=False, **settings,
            )
            for _ in (0, 1)
        ]  # fmt: skip
        model = TwoModels(estimator_trmnt=arms[1], estimator_ctrl=arms[0], method="vanilla")
        model.fit(inputs.iloc[learn], experiment.outcome[learn], experiment.treatment[learn])
        scores[title] = np.asarray(model.predict(inputs), dtype=np.float64)

    def qini(name: str) -> float:
        rows = experiment.rows("test")
        return float(qini_auc_score(experiment.outcome[rows], scores[name][rows], experiment.treatment[rows]))

    return {name: qini(name) for name in scores}


def ours(config: Config) -> dict[str, float]:
    """Return our settings of the arms, with half of the most trees, about where early stopping ends."""
    settings = config.uplift
    return {
        "iterations": settings.max_trees // 2,
        "learning_rate": settings.learning_rate,
        "depth": settings.depth,
        "l2_leaf_reg": settings.l2_leaf_reg,
    }


if __name__ == "__main__":
    main()
