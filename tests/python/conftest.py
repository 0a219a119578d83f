"""Fixtures that more than one test file uses."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from paths import ROOT
from servers import DatabaseServer, lacking, serve


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data that tests read and never copy: FUNNELIFT_SHARED, else ../shared beside the project."""
    folder = Path(os.environ.get("FUNNELIFT_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        lacking(f"no shared data at {folder}: set FUNNELIFT_SHARED to the folder that holds data/")
    return folder


@pytest.fixture(scope="session")
def mysql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """One MySQL or MariaDB server for all tests; skipped, or under CI failed, where there is none."""
    yield from serve(tmp_path_factory.mktemp("mysql"))


@pytest.fixture
def empty_mysql(mysql_server: DatabaseServer) -> DatabaseServer:
    """The same server without Funnelift's databases."""
    mysql_server.drop_databases()
    return mysql_server
