"""Put the Power BI project together: every file of `powerbi/`, by path."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bi.powerbi import pages, star, tmdl
from bi.powerbi.naming import lineage_tag
from bi.powerbi.pbir import SCHEMAS, page_file, visual_file, visual_name

NAME = "Funnelift"
MODEL, REPORT = f"{NAME}.SemanticModel", f"{NAME}.Report"


def project_files() -> dict[str, str]:
    """Write every file of the project.

    Returns
    -------
    dict
        Path within `powerbi/`, with slashes, to content.
    """
    return _texts(_entry()) | _model() | _report()


def write_project(folder: Path) -> None:
    """Replace what the generator owns in a folder, and leave aside what else lies there.

    Parameters
    ----------
    folder : Path
        The project's folder, usually `powerbi`.
    """
    files = project_files()
    # A page or table that is gone must not stay behind; Desktop keeps its own settings in .pbi, which are not ours.
    for owned in (folder / MODEL / "definition", folder / REPORT / "definition"):
        shutil.rmtree(owned, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="\n")


def _entry() -> dict[str, Any]:
    source = {
        "details": {"protocol": "mysql", "address": {"server": star.SERVER, "database": star.DATABASE}},
        "options": {},
        "mode": "Import",
    }
    return {
        f"{NAME}.pbip": {
            "$schema": SCHEMAS["pbip"],
            "version": "1.0",
            "artifacts": [{"report": {"path": REPORT}}],
            "settings": {"enableAutoRecovery": True},
        },
        "mysql.pbids": {"version": "0.1", "connections": [source]},
    }


def _model() -> dict[str, str]:
    tables = star.tables()
    parameters = star.parameters()
    order = [parameter.name for parameter in parameters] + [table.name for table in tables if table.view]
    pbism = {"$schema": SCHEMAS["pbism"], "version": "4.2", "settings": {}}
    definition = {
        "database": "database\n\tcompatibilityLevel: 1601\n",
        "model": tmdl.model_file(tables, order),
        "expressions": tmdl.expressions_file(parameters),
        "relationships": tmdl.relationships_file(star.relationships()),
        **{f"tables/{table.name}": tmdl.table_file(table) for table in tables},
    }
    return _texts({f"{MODEL}/.platform": _platform("SemanticModel"), f"{MODEL}/definition.pbism": pbism}) | {
        f"{MODEL}/definition/{name}.tmdl": content for name, content in definition.items()
    }


def _report() -> dict[str, str]:
    all_pages = pages.pages()
    files: dict[str, Any] = {
        ".platform": _platform("Report"),
        "definition.pbir": {
            "$schema": SCHEMAS["pbir"],
            "version": "4.0",
            "datasetReference": {"byPath": {"path": f"../{MODEL}"}},
        },
        "definition/version.json": {"$schema": SCHEMAS["version"], "version": "2.0.0"},
        "definition/report.json": {"$schema": SCHEMAS["report"], "themeCollection": {}},
        "definition/pages/pages.json": {
            "$schema": SCHEMAS["pages"],
            "pageOrder": [page.name for page in all_pages],
            "activePageName": all_pages[0].name,
        },
    }
    for page in all_pages:
        folder = f"definition/pages/{page.name}"
        files[f"{folder}/page.json"] = page_file(page)
        for order in range(len(page.visuals)):
            files[f"{folder}/visuals/{visual_name(page, order)}/visual.json"] = visual_file(page, order)
    return _texts({f"{REPORT}/{name}": content for name, content in files.items()})


def _platform(kind: str) -> dict[str, Any]:
    return {
        "$schema": SCHEMAS["platform"],
        "metadata": {"type": kind, "displayName": NAME},
        "config": {"version": "2.0", "logicalId": lineage_tag("item", kind)},
    }


def _texts(files: Mapping[str, Any]) -> dict[str, str]:
    return {name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in files.items()}
