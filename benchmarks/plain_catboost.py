"""The plain way to a model: CatBoost's defaults on every training row. Prints its AUC on the test split as JSON.

Rows, features and splits are those of `python -m ml.train`; nothing is sampled, stopped early or tuned.
"""

import json

from catboost import CatBoostClassifier
from sklearn.metrics import roc_auc_score

from ml.config import load_config
from ml.data.features import MART, read_mart
from ml.data.rows import build_dataset
from ml.data.split import split_by_time
from warehouse.contract import read_contracts
from warehouse.open import open_warehouse


def main() -> None:
    """Fit on the training split and score the test split."""
    config = load_config()
    mart = read_mart(read_contracts(config.manifest))
    with open_warehouse(config) as warehouse:
        rows, batches = warehouse.read(MART, mart.columns)
        data = build_dataset(batches, rows, mart)
    splits = split_by_time(data, config.split)
    categorical = [name for name, column in data.inputs.items() if column.dtype == "category"]
    inputs = data.inputs.astype(dict.fromkeys(categorical, str))
    train, test = splits.rows("train"), splits.rows("test")
    model = CatBoostClassifier(
        cat_features=categorical, random_seed=config.seed, thread_count=config.threads, verbose=False
    )
    model.fit(inputs.iloc[train], data.label[train])
    probability = model.predict_proba(inputs.iloc[test])[:, 1]
    print(json.dumps({"rows": len(train), "auc": roc_auc_score(data.label[test], probability)}))


if __name__ == "__main__":
    main()
