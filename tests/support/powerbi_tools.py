"""Microsoft's and others' tools for Power BI files, which `.ci/powerbi-tools.sh` installs outside the repository."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paths import ROOT
from servers import lacking

VARIABLE = "FUNNELIFT_POWERBI_TOOLS"
SCRIPTS = ROOT / "tests" / "powerbi"
SECONDS = 300


@dataclass(frozen=True)
class Tools:
    """The folder that the script filled."""

    folder: Path

    def node(self) -> str:
        own = self.folder / "node/node_modules/node/bin/node"
        return str(own) if own.exists() else "node"

    def report_errors(self, project: Path) -> dict[str, Any]:
        """What Microsoft's report validator finds, warnings too, by the name of the fault."""
        cli = self.folder / "node/node_modules/@microsoft/powerbi-report-authoring-cli/dist/cli.js"
        found = run([self.node(), str(cli), "validate", "--no-schema", str(project)], check=False)
        envelope = json.loads(found.stdout)
        result: dict[str, Any] = envelope["data"].get("diagnostics", {})
        return result

    def query_errors(self, queries: Mapping[str, str]) -> dict[str, str | None]:
        """What Microsoft's parser says of each Power Query; None where it is well-formed."""
        script = [self.node(), str(SCRIPTS / "queries.mjs"), str(self.folder / "node/node_modules")]
        errors: dict[str, str | None] = json.loads(run(script, json.dumps(queries)).stdout)
        return errors

    def models(self, *folders: Path) -> list[dict[str, Any]]:
        """What Microsoft's Tabular Object Model reads from TMDL folders."""
        found = run([str(self.folder / "tom/bin/python"), str(SCRIPTS / "tom.py"), *map(str, folders)])
        return [json.loads(line) for line in found.stdout.splitlines()]

    def values(
        self, folder: Path, tables: Mapping[str, Any], cases: Sequence[tuple[str, Mapping[str, Sequence[Any]]]]
    ) -> list[Any]:
        """The values of measures of a TMDL folder on rows of the warehouse; None: it has none or is broken."""
        asked = json.dumps({"tables": tables, "cases": cases})
        values: list[Any] = json.loads(
            run([str(self.folder / "dax/bin/python"), str(SCRIPTS / "dax.py"), str(folder)], asked).stdout
        )
        return values


def run(command: Sequence[str], given: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    found = subprocess.run(command, input=given, capture_output=True, text=True, timeout=SECONDS)
    if check and found.returncode:
        raise AssertionError(f"{' '.join(command)}\n{found.stdout[-2000:]}\n{found.stderr[-4000:]}")
    return found


def tools(*needed: str) -> Tools:
    """The tools, if those needed are there: `node`, `tom`, `dax`; else the test is skipped, or under CI failed."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        lacking(f"no Power BI tools: run .ci/powerbi-tools.sh FOLDER and set {VARIABLE}=FOLDER")
    for tool in needed:
        if not (Path(folder) / tool / ".installed").exists():
            lacking(f"{VARIABLE}={folder} lacks {tool}: run .ci/powerbi-tools.sh {folder}")
    if "tom" in needed and shutil.which("mono") is None:
        lacking("no mono on this machine: .ci/powerbi-tools.sh installs mono-devel")
    return Tools(Path(folder))
