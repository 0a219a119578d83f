"""The models of offers as files: trees by CatBoost, the rest as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ml.conversion.catboost import save_booster
from ml.data.features import Mart, features_signature
from ml.files import sha256_of, write_json
from ml.policy.offer_scores import OfferScorer
from ml.policy.offers import Policy
from ml.publish.uplift_model import UPLIFT_FEATURES_FILE
from ml.uplift.offers import Constant, Costs, GainModel, OfferModel, ResponseModel

OFFERS_FILE, SCORER_FILE, RANKS_FILE = "offers.json", "offers_scorer.json", "offers_ranks.npy"


def save_offers(folder: Path, model: OfferModel, policy: Policy, costs: Costs) -> dict[str, str]:
    """Save all that scoring needs.

    Parameters
    ----------
    folder : Path
        Where the files go.
    model : OfferModel
        The models.
    policy : Policy
        The policy that was chosen.
    costs : Costs
        What offers cost.

    Returns
    -------
    dict of str to str
        File name to SHA-256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    responses = model.responses
    parts = {"bought": responses.bought, "positive": responses.positive, "amount": responses.amount}
    parts |= {f"gain_{place}": gain.trees for place, gain in enumerate(model.gains, start=1)}
    write_json(
        folder / OFFERS_FILE,
        {
            "models": {name: _saved(folder, name, each) for name, each in parts.items()},
            "amounts": list(responses.amounts),
            "gains": [{name: getattr(gain, name) for name in ("centre", "mean", "slope")} for gain in model.gains],
            "policy": asdict(policy),
            "costs": asdict(costs),
        },
    )
    return {path.name: sha256_of(path) for path in sorted(folder.glob("offers*"))}


def load_offers(folder: Path, threads: int) -> tuple[OfferModel, Policy, Costs]:
    """Load what `save_offers` saved; the caller has checked the files' hashes.

    Parameters
    ----------
    folder : Path
        Where the files are.
    threads : int
        Threads to use.

    Returns
    -------
    (OfferModel, Policy, Costs)
        Ready to score.
    """
    saved = json.loads((folder / OFFERS_FILE).read_text(encoding="utf-8"))
    parts = {name: _loaded(folder, name, each) for name, each in saved["models"].items()}
    responses = ResponseModel(parts["bought"], parts["positive"], parts["amount"], tuple(saved["amounts"]), threads)
    gains = [GainModel(parts[f"gain_{place}"], **gain) for place, gain in enumerate(saved["gains"], start=1)]
    policy = saved["policy"]
    costs: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in saved["costs"].items()
    }
    return (
        OfferModel(responses, tuple(gains)),
        Policy(**policy | {"offers": tuple(policy["offers"])}),
        Costs(**costs),
    )


def save_scorer(folder: Path, scorer: OfferScorer, mart: Mart) -> dict[str, str]:
    """Save all that scoring sessions of the mart needs.

    Parameters
    ----------
    folder : Path
        Where the files go.
    scorer : OfferScorer
        Models, policy, costs and ranks.
    mart : Mart
        Features.

    Returns
    -------
    dict of str to str
        File name to SHA-256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / UPLIFT_FEATURES_FILE, {"features": features_signature(mart), "effects": dict(scorer.effects)})
    write_json(folder / SCORER_FILE, {"names": list(scorer.names), "baseline_rate": scorer.baseline_rate})
    np.save(folder / RANKS_FILE, scorer.ranks)
    hashes = save_offers(folder, scorer.model, scorer.policy, scorer.costs)
    return {**hashes, UPLIFT_FEATURES_FILE: sha256_of(folder / UPLIFT_FEATURES_FILE)}


def load_scorer(folder: Path, threads: int) -> OfferScorer:
    """Load what `save_scorer` saved; the caller has checked the files' hashes.

    Parameters
    ----------
    folder : Path
        Where the files are.
    threads : int
        Threads to use.

    Returns
    -------
    OfferScorer
        Ready to score.
    """
    saved = json.loads((folder / SCORER_FILE).read_text(encoding="utf-8"))
    return OfferScorer(
        *load_offers(folder, threads),
        names=tuple(saved["names"]),
        ranks=np.load(folder / RANKS_FILE, allow_pickle=False),
        baseline_rate=saved["baseline_rate"],
        effects=json.loads((folder / UPLIFT_FEATURES_FILE).read_text(encoding="utf-8"))["effects"],
    )


def _saved(folder: Path, name: str, model: Any) -> str | float | None:
    if model is None or isinstance(model, Constant):
        return None if model is None else model.value
    save_booster(model, folder / f"offers_{name}.cbm")
    return "classifier" if name in ("bought", "positive") else "regressor"


def _loaded(folder: Path, name: str, kind: str | float | None) -> Any:
    from catboost import CatBoostClassifier, CatBoostRegressor

    if kind is None or isinstance(kind, float | int):
        return None if kind is None else Constant(float(kind))
    model = CatBoostClassifier() if kind == "classifier" else CatBoostRegressor()
    return model.load_model(str(folder / f"offers_{name}.cbm"))
