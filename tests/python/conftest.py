"""Fixtures that more than one test file uses."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data that tests read and never copy: FUNNELIFT_SHARED, else ../shared beside the project."""
    folder = Path(os.environ.get("FUNNELIFT_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        reason = f"no shared data at {folder}: set FUNNELIFT_SHARED to the folder that holds data/"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
