"""A small dbt project of a test's own, with the macros of this one, on any engine."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunner

from compiled import Outcome, environment, invoke
from parity import AskedWarehouse, Relation
from paths import ROOT


@dataclass(frozen=True)
class Trial:
    """A project on one engine."""

    warehouse: AskedWarehouse
    folder: Path

    def run(self, *arguments: str, **variables: Any) -> Outcome:
        errors, warnings = list[str](), list[str]()

        def listen(event: Any) -> None:
            if event.info.level == "error":
                errors.append(event.info.msg)
            elif event.info.level == "warn":
                warnings.append(event.info.msg)

        command = [
            *("--quiet", "--no-use-colors", "--no-send-anonymous-usage-stats", *arguments),
            *("--project-dir", str(self.folder), "--profiles-dir", str(ROOT), "--vars", json.dumps(variables)),
            *("--target-path", str(self.folder / "target"), "--log-path", str(self.folder / "logs")),
        ]
        with environment(**self.warehouse.environment):
            outcome = invoke(dbtRunner(callbacks=[listen]), command)
        if outcome.exception:
            errors.append(str(outcome.exception))
        return Outcome(outcome.success, outcome.result, "\n".join(errors), "\n".join(warnings))

    def read(self, table: str, columns: str = "*") -> Relation:
        return self.warehouse.query(f"select {columns} from funnelift.{table}")


def make_trial(warehouse: AskedWarehouse, folder: Path, files: Mapping[str, str]) -> Trial:
    folder.mkdir()
    project = {
        "name": "trial",
        "profile": "funnelift",
        "macro-paths": [str(ROOT / "macros")],
        "models": {"trial": {"+materialized": "table", "+persist_docs": {"relation": True, "columns": True}}},
    }
    (folder / "dbt_project.yml").write_text(json.dumps(project))
    for file, text in files.items():
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Trial(warehouse, folder)
