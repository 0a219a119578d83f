"""What the live service's tests share."""

import pytest

from live.compile import Compiled
from live_shop import compiled_once


@pytest.fixture(scope="session")
def live_models(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Compiled:
    """The models as the service has them."""
    own = tmp_path_factory.getbasetemp()
    return compiled_once((own if worker_id == "master" else own.parent) / "live_models")
