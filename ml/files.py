"""Small files: JSON that people can compare, hashes, and where a run keeps its models."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODELS_FOLDER = "models"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that two people can compare line by line.

    Parameters
    ----------
    path : Path
        File to write.
    content : mapping
        Anything that JSON knows; NaN is refused.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_folder(results: Path, run_id: str) -> Path:
    """Return the folder in which a run keeps its models, and what else rolling back to it puts in place.

    Parameters
    ----------
    results : Path
        Folder of all results, or where a run's files are staged.
    run_id : str
        The run.

    Returns
    -------
    Path
        A folder of its own.
    """
    return results / MODELS_FOLDER / run_id
