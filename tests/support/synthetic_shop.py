"""A synthetic shop as a user makes one: loaded, built, and trained; what it was before the training is kept."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from paths import ROOT
from training import QUICK

VISITORS = "20000"


@dataclass(frozen=True)
class SyntheticShop:
    """Files that tests read, or copy before they write."""

    folder: Path

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def untrained(self) -> Path:
        return self.folder / "untrained.duckdb"

    @property
    def trained(self) -> Path:
        return self.folder / "warehouse.duckdb"

    @property
    def target(self) -> Path:
        return self.folder / "target"

    def make(self) -> None:
        """Make the shop, unless another process of the test run has."""
        done = self.folder / "done"
        self.folder.mkdir(exist_ok=True)
        with FileLock(self.folder / "lock"):
            if done.exists():
                return
            (self.folder / "quick.json").write_text(json.dumps(QUICK))
            self.run("ingest", "synth", "--out", str(self.raw), "--visitors", VISITORS)
            self.run("ingest", "load", "--raw", str(self.raw))
            self.run("dbt.cli.main", "--quiet", "build")
            shutil.copy(self.trained, self.untrained)
            self.run("ml.train", "--config", str(self.folder / "quick.json"))
            done.touch()

    def run(self, *command: str) -> None:
        """Run a command of the project's on this shop."""
        places = {
            "FUNNELIFT_TARGET": "duckdb",
            "FUNNELIFT_DUCKDB_PATH": str(self.trained),
            "FUNNELIFT_RESULTS": str(self.folder / "results"),
            "DBT_TARGET_PATH": str(self.target),
            "DBT_LOG_PATH": str(self.folder / "logs"),
        }
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env={**os.environ, **places}, check=True)
