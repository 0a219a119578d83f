"""The committed Power BI project, copies of it to break, and the views that it reads."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bi.tables import known_columns
from paths import ROOT

PROJECT = ROOT / "powerbi"
MODEL, REPORT = "Funnelift.SemanticModel/definition", "Funnelift.Report/definition"
VIEWS = known_columns()


@dataclass(frozen=True)
class Project:
    """A folder with a Power BI project."""

    folder: Path

    def file(self, pattern: str) -> Path:
        """The first file whose path within the project matches."""
        return sorted(self.folder.glob(pattern))[0]

    def replace(self, pattern: str, old: str, new: str) -> None:
        """Change the first occurrence of a text in the first matching file that has it."""
        for path in sorted(self.folder.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            if old in text:
                path.write_text(text.replace(old, new, 1), encoding="utf-8")
                return
        raise AssertionError(f"no {pattern} holds {old!r}")

    def edit(self, pattern: str, change: Callable[[Any], None]) -> None:
        """Change the content of the first matching JSON file."""
        path = self.file(pattern)
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    def json_files(self) -> dict[str, Any]:
        """Every JSON file's content by its path."""
        return {
            str(path.relative_to(self.folder)): json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.suffix != ".tmdl"
        }

    def queries(self) -> dict[str, str]:
        """Every Power Query of the model: of the tables, and the parameters."""
        found = {}
        for path in sorted((self.folder / MODEL / "tables").glob("*.tmdl")):
            text = path.read_text(encoding="utf-8")
            source = re.search(r"= m\n\t\tmode: import\n\t\tsource =\n(.*)", text, re.DOTALL)
            if source:
                found[path.stem] = source[1]
        expressions = (self.folder / MODEL / "expressions.tmdl").read_text(encoding="utf-8")
        return found | dict(re.findall(r"^expression (\w+) = (.*)$", expressions, re.MULTILINE))


def copied(to: Path) -> Project:
    """A copy to break."""
    return Project(Path(shutil.copytree(PROJECT, to / "powerbi")))
