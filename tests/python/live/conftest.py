"""What the live service's tests share."""

from pathlib import Path

import pytest

from live.compile import Compiled
from live_shop import compiled_once


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of the models as the service has them."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "live_models"
    compiled_once(folder)
    return folder


@pytest.fixture(scope="session")
def live_models(models: Path) -> Compiled:
    """The models as the service has them."""
    return compiled_once(models)
