"""The live service on a MySQL or MariaDB server: the same features as the server's own mart."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compiled import ROOT
from live.compile import Compiled
from live.service import KEPT
from live.settings import LiveSettings
from live_server import running
from ml.config import load_config
from servers import DatabaseServer
from warehouse.open import open_warehouse

COMPARED = 40


def run(server: DatabaseServer, folder: Path, *command: str) -> None:
    places = {"DBT_TARGET_PATH": str(folder / "target"), "DBT_LOG_PATH": str(folder / "logs")}
    outcome = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **server.environment, **places},
        check=False,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def is_same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, float) and theirs is not None:
        return math.isclose(mine, float(theirs), rel_tol=1e-12, abs_tol=0)
    return bool(mine == theirs)


def test_features_are_those_of_the_servers_mart(
    empty_mysql: DatabaseServer,
    live_models: Compiled,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python, raw = sys.executable, str(tmp_path / "raw")
    run(empty_mysql, tmp_path, python, "-m", "ingest", "synth", "--out", raw, "--visitors", "600")
    run(empty_mysql, tmp_path, python, "-m", "ingest", "load", "--raw", raw)
    run(empty_mysql, tmp_path, str(Path(python).with_name("dbt")), "--quiet", "build")
    for name, value in empty_mysql.environment.items():
        monkeypatch.setenv(name, value)
    places = {"target": "mysql", "manifest": tmp_path / "target" / "manifest.json", "results": tmp_path / "results"}
    config = load_config(None, places, environment={})
    own = tmp_path_factory.getbasetemp()
    shutil.copytree((own if worker_id == "master" else own.parent) / "live_models", tmp_path / "results" / KEPT)
    with open_warehouse(config) as warehouse:
        rows = warehouse.query("select * from funnelift.session_features")
    full = {(row["session_id"], row["decision_point"]): row for row in rows}
    visitors = sorted({row["visitor_id"] for row in rows})[:COMPARED]
    with running(config, LiveSettings(tmp_path / "log")) as (service, client):
        known = service.known
        assert known is not None
        found = known.shop.features(visitors, 0).to_pylist()
        answer = client.send({"visitorid": visitors[0], "event": "view", "itemid": rows[0]["item_id"]})
    assert answer[0] == 200
    assert {(row["session_id"], row["decision_point"]) for row in found} == {
        key for key, row in full.items() if row["visitor_id"] in visitors
    }
    for row in found:
        theirs = full[(row["session_id"], row["decision_point"])]
        assert [name for name in row if name != "is_mature" and not is_same(row[name], theirs[name])] == []
