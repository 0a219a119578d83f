"""Saved models: what scoring needs, and its hashes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ml.conversion.bands import Thresholds
from ml.conversion.calibration import Calibrator
from ml.conversion.champion import Champion
from ml.conversion.constants import Constants
from ml.conversion.model import Model
from ml.conversion.models import MODELS
from ml.data.features import Mart, features_signature
from ml.files import sha256_of, write_json
from warehouse.errors import FunneliftError

CALIBRATOR_FILE, FEATURES_FILE = "calibrator.json", "features.json"


@dataclass(frozen=True)
class SavedModel:
    """What `ml_runs` says of the model that a run saved."""

    run_id: str
    model_version: str
    champion_file: str
    model_sha256: str
    calibrator_sha256: str
    features_sha256: str
    splits_json: str
    is_synthetic: bool

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file that scoring reads."""
        return {
            self.champion_file: self.model_sha256,
            CALIBRATOR_FILE: self.calibrator_sha256,
            FEATURES_FILE: self.features_sha256,
        }

    def check(self, folder: Path, mart: Mart) -> None:
        """Refuse files that are not those of the training, and features that are not the mart's.

        Parameters
        ----------
        folder : Path
            Where the model files are.
        mart : Mart
            What the manifest says now.

        Raises
        ------
        ModelError
            When the model cannot score the mart's rows.
        """
        check_files(folder, self.hashes, self.run_id)
        check_features(folder / FEATURES_FILE, mart)
        check_bands(folder / FEATURES_FILE)


class ModelError(FunneliftError):
    """A saved model that cannot score the mart's rows; `short` says why in a few words."""

    def __init__(self, message: str, short: str) -> None:
        super().__init__(message)
        self.short = short


def save_model(folder: Path, champion: Champion, catboost: Model) -> dict[str, str]:
    """Save all that scoring needs: champion, calibrator, features and thresholds; and always the CatBoost model.

    Parameters
    ----------
    folder : Path
        Where the files go.
    champion : Champion
        The model that scores.
    catboost : Model
        The CatBoost model, champion or not.

    Returns
    -------
    dict
        File name to SHA-256.
    """
    mart, thresholds = champion.model.mart, champion.thresholds
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
            "risk_band_cuts": thresholds.cuts,
            "constant": champion.constants.names,
        },
    )
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file()}


def load_model(folder: Path, mart: Mart, threads: int) -> Champion:
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
    Champion
        The model that scores.
    """
    saved = json.loads((folder / CALIBRATOR_FILE).read_text(encoding="utf-8"))
    features = json.loads((folder / FEATURES_FILE).read_text(encoding="utf-8"))
    model = MODELS[saved["model"]].load(folder / saved["model_file"], mart, threads)
    calibrator = Calibrator(saved["method"], tuple(saved["knots"]), tuple(saved["values"]))
    cuts = {point: (low, high) for point, (low, high) in features["risk_band_cuts"].items()}
    constants = Constants({point: tuple(names) for point, names in features["constant"].items()})
    return Champion(model, calibrator, Thresholds(cuts), constants)


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


def check_files(folder: Path, recorded: Mapping[str, str], run_id: str, option: str = "--results",
                command: str = "python -m ml.train") -> None:  # fmt: skip
    """Refuse model files that are not, byte for byte, those that the training recorded.

    Parameters
    ----------
    folder : Path
        Where the model files are.
    recorded : mapping
        File name to SHA-256, as the run recorded them.
    run_id : str
        The run.
    option, command : str
        What names the folder of models, and what makes them anew.

    Raises
    ------
    ModelError
        When a file is missing or its hash differs.
    """
    for name, expected in recorded.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(
                f"no {path}: point {option} to the folder of run {run_id}, or train again",
                "the files of its model are gone",
            )
        found = sha256_of(path)
        if found != expected:
            raise ModelError(
                f"gate model hash failed: {path}: expected sha256 {expected} (run {run_id}), found {found}. "
                f"Restore the file, or run `{command}`",
                "the files of its model were changed",
            )


def check_bands(path: Path) -> None:
    """Refuse a model that an earlier state saved, with multiples of a rate as risk bands.

    Parameters
    ----------
    path : Path
        File in which the training wrote its features.

    Raises
    ------
    ModelError
        When it holds no scores that bound the bands.
    """
    if "risk_band_cuts" not in json.loads(path.read_text(encoding="utf-8")):
        raise ModelError(
            f"{path} is of an earlier state, whose risk bands were multiples of a rate. Run `python -m ml.train`",
            "its risk bands are those of an earlier state",
        )


def check_features(path: Path, mart: Mart) -> None:
    """Refuse a model whose features are not the mart's.

    Parameters
    ----------
    path : Path
        File in which the training wrote its features.
    mart : Mart
        What the manifest says now.

    Raises
    ------
    ModelError
        When a name, kind, type or the order differs.
    """
    saved = json.loads(path.read_text(encoding="utf-8"))["features"]
    current = features_signature(mart)
    if saved == current:
        return
    trained, now = ({feature["name"]: feature for feature in features} for features in (saved, current))
    differences = [
        *(f"{name} is gone" for name in trained.keys() - now.keys()),
        *(f"{name} is new" for name in now.keys() - trained.keys()),
        *(f"{name} changed" for name in trained.keys() & now.keys() if trained[name] != now[name]),
    ]
    raise ModelError(
        f"gate features failed: the model was trained on {len(saved)} features, the mart has {len(current)}: "
        f"{', '.join(sorted(differences)) or 'their order changed'}. Run `python -m ml.train`",
        "the features have changed",
    )
