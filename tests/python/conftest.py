"""Fixtures that more than one test file uses, and the marks that follow from what a test uses."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paths import ROOT
from servers import DatabaseServer, lacking, named_server, serve, start_private_mariadb
from spark_cluster import Cluster, start_cluster
from synthetic_shop import SyntheticShop

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# What a test needs, told by its fixtures, at whatever distance.
MARKS_OF_FIXTURES = {
    "mysql_server": "server",
    "private_mariadb": "server",
    "browser": "browser",
    "synthetic_shop": "end_to_end",
    "spark_cluster": "spark",
}
SLOW_MARKS = ("server", "browser", "spark", "end_to_end", "statistics")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, mark in MARKS_OF_FIXTURES.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
    _long_files_first(items)


def _long_files_first(items: list[pytest.Item]) -> None:
    """Order whole files, so that no core is left alone with a long one at the end.

    First the files with slow tests, then those that share one synthetic shop (the first of them makes it while the
    other process is still busy with something else), then all others.
    """
    turns: dict[Path, int] = {}
    for item in items:
        turn = 2
        if any(item.get_closest_marker(mark) for mark in SLOW_MARKS):
            turn = 1 if "synthetic_shop" in getattr(item, "fixturenames", ()) else 0
        turns[item.path] = min(turn, turns.get(item.path, 2))
    items.sort(key=lambda item: turns[item.path])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process per core; one in all on a server that the environment names, whose databases have fixed names."""
    return 0 if named_server() else os.cpu_count() or 1


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A real Chromium without a window."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        lacking("no Chromium on this machine: install chromium")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        opened = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data that tests read and never copy: FUNNELIFT_SHARED, else ../shared beside the project."""
    folder = Path(os.environ.get("FUNNELIFT_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        lacking(f"no shared data at {folder}: set FUNNELIFT_SHARED to the folder that holds data/")
    return folder


@pytest.fixture(scope="session")
def synthetic_shop(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> SyntheticShop:
    """A synthetic shop before and after its first training, made once for all processes of a test run."""
    own = tmp_path_factory.getbasetemp()
    shop = SyntheticShop((own if worker_id == "master" else own.parent) / "synthetic_shop")
    shop.make()
    return shop


@pytest.fixture(scope="session")
def mysql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """One MySQL or MariaDB server for all tests of a process; skipped, or under CI failed, where there is none."""
    yield from serve(tmp_path_factory.mktemp("mysql"))


@pytest.fixture(scope="module")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Spark cluster of two workers; skipped, or under CI failed, where Spark is not set up."""
    with start_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def private_mariadb(tmp_path: Path) -> Iterator[DatabaseServer]:
    """A server that a test may kill."""
    server = start_private_mariadb(tmp_path)
    try:
        yield server
    finally:
        if server.process is not None:
            server.stop()


@pytest.fixture
def empty_mysql(mysql_server: DatabaseServer) -> DatabaseServer:
    """The same server without Funnelift's databases."""
    mysql_server.drop_databases()
    return mysql_server
