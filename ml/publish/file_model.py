"""The model of an experiment from a file: what scoring people of another file needs, sealed by hashes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ml.config import PolicySettings
from ml.data.features import Feature, Mart
from ml.experiment.file import Columns, FileExperiment
from ml.experiment.people import FileFeature
from ml.files import write_json
from ml.publish.artifacts import check_files
from warehouse.errors import FunneliftError

SEALED_FILE = "uplift_file.json"
COMMAND = "python -m ml.uplift --experiment"


@dataclass(frozen=True)
class Rule:
    """Whom to treat: the share in percent with the highest rank, 0 for nobody, under these costs."""

    share_percent: int
    policy: PolicySettings


@dataclass(frozen=True)
class FileModel:
    """What a run on a file saved.

    `words` are texts that are no null, `visitor` names the column of units, if there was one; `hashes` maps each file
    of the models to its SHA-256. A ranking has a `rule` and the conversion rate of the control; where offers were
    compared, `offers` names the control and the offers.
    """

    run_id: str
    model_version: str
    seed: int
    outcome: str
    visitor: str | None
    words: tuple[str, ...]
    features: tuple[FileFeature, ...]
    hashes: Mapping[str, str]
    baseline_rate: float = 0.0
    rule: Rule | None = None
    offers: tuple[str, ...] = ()

    @property
    def mart(self) -> Mart:
        """The features as the models know them."""
        names = tuple(feature.name for feature in self.features)
        kinds = ("categorical" if feature.levels else "numeric" for feature in self.features)
        features = (Feature(name, "file", kind, name) for name, kind in zip(names, kinds, strict=True))
        return Mart(tuple(features), self.outcome, names)


def model_of(found: FileExperiment, columns: Columns, *, hashes: Mapping[str, str], **others: Any) -> FileModel:
    """Put together what a run on a file saves.

    Parameters
    ----------
    found : FileExperiment
        The experiment.
    columns : Columns
        What the file's columns were.
    hashes : mapping
        File of the models to its SHA-256.
    **others
        The fields that these do not hold.

    Returns
    -------
    FileModel
        The model.
    """
    return FileModel(
        outcome=columns.outcome, visitor=columns.visitor, words=tuple(columns.values), features=found.features,
        hashes=hashes, **others,
    )  # fmt: skip


def seal(folder: Path, model: FileModel) -> None:
    """Write what scoring needs beside the models, with a hash of itself.

    Parameters
    ----------
    folder : Path
        Where the models are.
    model : FileModel
        What to write.
    """
    content = asdict(model)
    if model.rule is not None:
        content["rule"]["policy"] = model.rule.policy.model_dump(mode="json")
    write_json(folder / SEALED_FILE, {**content, "sha256": _hash(content)})


def seal_nothing(folder: Path, run_id: str, left_out: str) -> None:
    """Write that a run could rank nobody, in the place of what an earlier run may have left there.

    Parameters
    ----------
    folder : Path
        Where its models would be.
    run_id : str
        The run.
    left_out : str
        Why it has none.
    """
    write_json(folder / SEALED_FILE, {"run_id": run_id, "left_out": left_out})


def read_sealed(folder: Path) -> tuple[FileModel, Path]:
    """Read a saved model, once it is sure that all of it is of one run and as that run wrote it.

    Parameters
    ----------
    folder : Path
        The folder of models, or the one above it.

    Returns
    -------
    FileModel
        Features, rule and hashes.
    Path
        The folder of models.

    Raises
    ------
    FunneliftError
        With the file that is missing or was changed.
    """
    folder = next((path for path in (folder, folder / "models") if (path / SEALED_FILE).is_file()), folder)
    path = folder / SEALED_FILE
    if not path.is_file():
        raise FunneliftError(
            f"no {path}: --model names the folder models/ of a run of `{COMMAND}` that could rank people"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "left_out" in content:
            raise FunneliftError(f"run {content['run_id']} has no model to score by: {content['left_out']} ({path})")
        sealed = content.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _changed(path) from None
    if sealed != _hash(content):
        raise _changed(path)
    model = _of(content)
    check_files(folder, model.hashes, model.run_id, "--model", COMMAND)
    return model, folder


def _changed(path: Path) -> FunneliftError:
    return FunneliftError(
        f"gate model hash failed: {path} is not as its run wrote it. Restore the file, or run `{COMMAND}`"
    )


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _of(content: dict[str, Any]) -> FileModel:
    features = (FileFeature(**entry | {"levels": tuple(entry["levels"])}) for entry in content.pop("features"))
    rule = content.pop("rule")
    return FileModel(
        features=tuple(features),
        words=tuple(content.pop("words")),
        offers=tuple(content.pop("offers")),
        rule=rule and Rule(rule["share_percent"], PolicySettings.model_validate(rule["policy"])),
        **content,
    )
