"""One run: its name, settings, versions, and the stamp that its rows carry."""

import json
import platform
import subprocess
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from ml.cli import Progress
from ml.config import Config
from ml.files import model_folder
from warehouse.contract import Contracts

PACKAGES = (
    "catboost",
    "great-expectations",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "shap",
    "statsmodels",
    "xgboost-cpu",
)


@dataclass(frozen=True)
class Stamp:
    """What every published row carries, and whether the visitors (synthetic) or the effects (simulated) are made up."""

    run_id: str
    model_version: str
    scored_at: datetime
    is_synthetic: bool = False
    is_simulated: bool = False


def run_name(started: datetime) -> str:
    """Name a run by its start, to the millisecond, so that names sort by time.

    Parameters
    ----------
    started : datetime
        Start in UTC.

    Returns
    -------
    str
        Such as 20150503T030000000Z.
    """
    return f"{started:%Y%m%dT%H%M%S}{started.microsecond // 1000:03d}Z"


def settings_json(config: Config) -> str:
    """Write the settings that explain a run's numbers; where it ran and wrote is left out.

    Parameters
    ----------
    config : Config
        Settings.

    Returns
    -------
    str
        JSON.
    """
    return json.dumps(config.model_dump(mode="json", exclude={"duckdb_path", "results", "manifest"}))


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on.

    Returns
    -------
    dict
        Name to version.
    """
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def git_commit() -> str | None:
    """Return the commit of the code that runs.

    Returns
    -------
    str or None
        Hash; None where there is no git or no repository.
    """
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


@dataclass(frozen=True)
class Run:
    """One run: settings, contracts, name, start in UTC, the folder of its files, and who hears of its progress."""

    config: Config
    contracts: Contracts
    run_id: str
    started: datetime
    folder: Path
    progress: Progress

    @property
    def models(self) -> Path:
        """The folder in which the run keeps its models, while its files are staged."""
        return model_folder(self.folder, self.run_id)
