"""The plain way to uplift: `CatBoostClassifier()` with the library's defaults on every row of each arm, no more.

    python -m benchmarks.plain_uplift DECISION_POINT

Rows, arms and outcomes are those of the last `python -m ml.train --only uplift`; nothing is sampled, stopped early,
cross-fitted, calibrated, evaluated or valued.
"""

import json
import sys

import numpy as np
import pyarrow as pa
from catboost import CatBoostClassifier
from sklift.metrics import qini_auc_score

from ml.config import load_config
from ml.data.features import MART, read_mart
from ml.data.rows import build_dataset
from warehouse.contract import read_contracts
from warehouse.open import open_warehouse


def main() -> None:
    config = load_config()
    mart = read_mart(read_contracts(config.manifest))
    columns = ("session_id", "treatment", "outcome", "dataset_split", "uplift_percentile")
    with open_warehouse(config) as warehouse:
        count, batches = warehouse.read(MART, mart.columns)
        data = build_dataset(batches, count, mart)
        _, found = warehouse.read("uplift_scores", columns)
        scores = pa.Table.from_batches(list(found)).to_pandas()
    rows = np.flatnonzero(np.asarray(data.decision_point) == sys.argv[1])
    sessions = data.identity.column("session_id").take(pa.array(rows)).to_pandas()
    scores = scores.set_index("session_id").loc[sessions]
    inputs = data.inputs.iloc[rows]
    split, arm, outcome = (scores[name].to_numpy() for name in ("dataset_split", "treatment", "outcome"))
    learn, test = split == "train", split == "test"
    predicted = []
    for treated in (0, 1):
        own = learn & (arm == treated)
        model = CatBoostClassifier(
            cat_features=mart.categorical, silent=True, thread_count=2, allow_writing_files=False
        )
        model.fit(inputs[own], outcome[own])
        predicted.append(model.predict_proba(inputs[test])[:, 1])
    label, treatment = outcome[test].astype(int), arm[test].astype(int)
    print(
        json.dumps(
            {
                "rows": int(learn.sum()),
                "plain_qini": float(qini_auc_score(label, predicted[1] - predicted[0], treatment)),
                "our_qini": float(qini_auc_score(label, scores["uplift_percentile"].to_numpy()[test], treatment)),
            }
        )
    )


if __name__ == "__main__":
    main()
