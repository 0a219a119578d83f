"""The committed Power BI project: it is what the generator writes, and valid, and every reference leads somewhere.

Each check is shown to catch a fault put into a copy.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from bi.powerbi.check import problems
from bi.powerbi.project import project_files, write_project
from powerbi_project import MODEL, PROJECT, REPORT, VIEWS, Project, copied

ROOT = PROJECT.parent
SCHEMAS = "https://developer.microsoft.com/json-schemas/"
VISUALS = f"{REPORT}/pages/*/visuals/*/visual.json"


@pytest.fixture
def copy(tmp_path: Path) -> Project:
    return copied(tmp_path)


@pytest.fixture(scope="module")
def schemas(shared_data: Path) -> Registry[Any]:
    """Microsoft's published schemas, by the address at which files name them."""
    folder = shared_data.parent / "powerbi_schemas"
    return Registry[Any]().with_resources(
        (
            SCHEMAS + path.relative_to(folder).as_posix(),
            Resource(json.loads(path.read_text(encoding="utf-8-sig")), DRAFT7),
        )
        for path in folder.rglob("*.json")
    )


def schema_errors(project: Project, schemas: Registry[Any]) -> list[str]:
    found = []
    for path, content in project.json_files().items():
        # A data source file has no published schema; test_the_data_source_file reads it.
        if path.endswith(".pbids"):
            continue
        validator = Draft7Validator(schemas.contents(content["$schema"]), registry=schemas)
        found += [f"{path}: {error.json_path}: {error.message}" for error in validator.iter_errors(content)]
    return found


def stored(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def differences(folder: Path) -> list[str]:
    """Files that are not what the generator writes."""
    expected = {name: content.encode() for name, content in project_files().items()}
    found = stored(folder)
    return sorted(name for name in expected | found if expected.get(name) != found.get(name))


def test_the_committed_project_is_what_the_generator_writes() -> None:
    assert differences(PROJECT) == [], "run python -m bi and commit what it writes"


def test_a_changed_a_missing_and_a_foreign_file_are_differences(copy: Project) -> None:
    copy.replace(f"{MODEL}/tables/Session.tmdl", "isHidden", "isHidden ")
    (copy.folder / "mysql.pbids").unlink()
    (copy.folder / REPORT / "left.json").write_text("{}")
    changed = [f"{REPORT}/left.json", f"{MODEL}/tables/Session.tmdl", "mysql.pbids"]
    assert differences(copy.folder) == changed


def test_the_command_writes_the_same_bytes_everywhere_and_clears_what_is_gone(copy: Project) -> None:
    gone = copy.folder / REPORT / "pages" / "gone"
    gone.mkdir()
    (gone / "page.json").write_text("{}")
    kept = copy.folder / "Funnelift.Report" / ".pbi" / "localSettings.json"
    kept.parent.mkdir()
    kept.write_text("{}")
    # Another working directory, hash seed, time zone and locale.
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "bi", "--out", str(copy.folder)], cwd=copy.folder, env=environment, check=True
    )
    assert not gone.exists()
    assert kept.exists()
    shutil.rmtree(kept.parent)
    assert stored(copy.folder) == stored(PROJECT)


def test_the_command_says_what_it_checked(copy: Project) -> None:
    def check() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bi", "--check", "--out", str(copy.folder)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert check().returncode == 0
    before = stored(copy.folder)
    copy.replace(f"{MODEL}/model.tmdl", "ref table SHAP\n", "")
    found = check()
    assert found.returncode == 1
    assert found.stdout == "model.tmdl: no ref table for SHAP\n"
    assert len(stored(copy.folder)) == len(before)


def test_writing_twice_is_the_same(tmp_path: Path) -> None:
    write_project(tmp_path)
    first = stored(tmp_path)
    write_project(tmp_path)
    assert stored(tmp_path) == first


def test_every_file_is_valid_by_microsofts_schema(schemas: Registry[Any]) -> None:
    assert schema_errors(Project(PROJECT), schemas) == []


SCHEMA_FAULTS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "a page without a name": (f"{REPORT}/pages/*/page.json", lambda page: page.pop("name")),
    "a visual without a place": (VISUALS, lambda visual: visual.pop("position")),
    "an unknown property": (VISUALS, lambda visual: visual.update(colour="red")),
    "a wrong type": ("Funnelift.pbip", lambda pbip: pbip.update(version=1)),
    "another schema's file": (
        f"{REPORT}/report.json",
        lambda report: report.update({"$schema": f"{SCHEMAS}fabric/item/report/definition/page/2.0.0/schema.json"}),
    ),
    "an item without an identity": (
        "Funnelift.Report/.platform",
        lambda platform: platform["config"].pop("logicalId"),
    ),
}


@pytest.mark.parametrize("fault", SCHEMA_FAULTS)
def test_the_schemas_catch(fault: str, copy: Project, schemas: Registry[Any]) -> None:
    pattern, change = SCHEMA_FAULTS[fault]
    copy.edit(pattern, change)
    assert schema_errors(copy, schemas) != []


def test_every_reference_leads_somewhere() -> None:
    assert problems(PROJECT, VIEWS) == []


def drop_table(project: Project) -> None:
    (project.folder / MODEL / "tables" / "SHAP.tmdl").unlink()


def rename_table_file(project: Project) -> None:
    path = project.folder / MODEL / "tables" / "SHAP.tmdl"
    path.rename(path.with_name("Shape.tmdl"))


def rename_page(project: Project) -> None:
    folder = project.file(f"{REPORT}/pages/*/page.json").parent
    folder.rename(folder.with_name("0" * 20))


def rename_visual(project: Project) -> None:
    folder = project.file(VISUALS).parent
    folder.rename(folder.with_name("0" * 20))


def replace(pattern: str, old: str, new: str) -> Callable[[Project], None]:
    return lambda project: project.replace(pattern, old, new)


TABLES = f"{MODEL}/tables/*.tmdl"
REFERENCE_FAULTS: dict[str, tuple[Callable[[Project], None], str]] = {
    "a duplicate measure": (
        replace(TABLES, "\tmeasure Visitors =", "\tmeasure Sessions ="),
        "Key Measures: sessions stands there 2 times",
    ),
    "a measure that another table has": (
        replace(f"{MODEL}/tables/SHAP.tmdl", "\n\tcolumn", "\n\tmeasure Sessions = 1\n\n\tcolumn"),
        "measure Sessions has a namesake in another table",
    ),
    "a measure named as a column of its table": (
        replace(TABLES, "\tcolumn blank", "\tcolumn Sessions"),
        "Key Measures: sessions stands there 2 times",
    ),
    "a stale ref table": (drop_table, "model.tmdl: ref table SHAP, which has no file"),
    "a missing ref table": (replace(f"{MODEL}/model.tmdl", "ref table SHAP\n", ""), "no ref table for SHAP"),
    "a stale query order": (replace(f"{MODEL}/model.tmdl", '"SHAP"', '"SHAPE"'), "PBI_QueryOrder differs"),
    "a misspelt source column": (
        replace(TABLES, "sourceColumn: risk_band\n", "sourceColumn: risk_bend\n"),
        "sourceColumn risk_bend is not in bi_session",
    ),
    "a query for a column that the view lacks": (
        replace(TABLES, 'SelectColumns(Range, {"session_id"', 'SelectColumns(Range, {"sesion_id"'),
        "its query takes sesion_id",
    ),
    "a query of a view that is not there": (
        replace(TABLES, 'Item="bi_shap"', 'Item="bi_shape"'),
        "SHAP: reads bi_shape, which the warehouse does not have",
    ),
    "a missing sort column": (
        replace(TABLES, "sortByColumn: risk_band_number", "sortByColumn: band_number"),
        "sorted by band_number",
    ),
    "a measure of a missing column": (
        replace(TABLES, "SUM('Session'[has_view])", "SUM('Session'[has_viewed])"),
        "uses Session[has_viewed]",
    ),
    "a measure of a missing table": (
        replace(TABLES, "COUNTROWS('Session')", "COUNTROWS('Session') + SUM(Sesion[has_view])"),
        "uses table Sesion",
    ),
    "a measure of a missing measure": (
        replace(TABLES, "[Converting sessions], [Sessions]", "[Converting sessions], [Session]"),
        "uses [Session], which is no measure",
    ),
    "a relationship of a missing column": (
        replace(f"{MODEL}/relationships.tmdl", "toColumn: Date.date_day", "toColumn: Date.day"),
        "toColumn Date[day]",
    ),
    "a relationship of different types": (
        replace(f"{MODEL}/relationships.tmdl", "toColumn: Date.date_day", "toColumn: Category.category_name"),
        "joins dateTime and string",
    ),
    "a table in a file of another name": (rename_table_file, "Shape.tmdl: holds table SHAP"),
    "a page in a folder of another name": (rename_page, f"page {'0' * 20}: calls itself"),
    "a visual in a folder of another name": (rename_visual, f"visual {'0' * 20}: calls itself"),
    "a page that the order lacks": (
        lambda project: project.edit(f"{REPORT}/pages/pages.json", lambda pages: pages["pageOrder"].pop()),
        "pages.json: differs from the page folders",
    ),
    "a broken path to the model": (
        replace("Funnelift.Report/definition.pbir", "../Funnelift.SemanticModel", "../Funnelift.Dataset"),
        "definition.pbir: there is no semantic model at ../Funnelift.Dataset",
    ),
    "a broken path to the report": (
        replace("Funnelift.pbip", "Funnelift.Report", "Funnelift.Raport"),
        "there is no report at Funnelift.Raport",
    ),
    "a visual of a missing measure": (
        replace(VISUALS, '"Property": "Conversion rate"', '"Property": "Conversion ratio"'),
        "shows measure Key Measures[Conversion ratio]",
    ),
    "a visual of a missing column": (
        replace(VISUALS, '"Property": "step"', '"Property": "stage"'),
        "shows column Funnel Daily[stage]",
    ),
    "an interval of a missing measure": (
        replace(VISUALS, '"Property": "Decile uplift lower"', '"Property": "Decile uplift low"'),
        "shows measure Key Measures[Decile uplift low]",
    ),
    "a filter on a missing column": (
        replace(VISUALS, '"Source": "t"\n', '"Source": "u"\n'),
        "shows column [",
    ),
    "a projection that calls its field otherwise": (
        replace(VISUALS, '"queryRef": "Funnel Daily.step"', '"queryRef": "Funnel Daily.stage"'),
        "calls column Funnel Daily.step Funnel Daily.stage",
    ),
    "a visual beyond the page": (
        lambda project: project.edit(VISUALS, lambda visual: visual["position"].update(x=1270)),
        "reaches beyond the page",
    ),
    "a visual over another": (
        lambda project: project.edit(
            VISUALS, lambda visual: visual["position"].update(x=16, y=8, width=1200, height=600)
        ),
        ": covers ",
    ),
    "a byte order mark": (
        lambda project: project.file(TABLES).write_bytes(b"\xef\xbb\xbf" + project.file(TABLES).read_bytes()),
        "byte order mark",
    ),
    "spaces for tabs": (replace(TABLES, "\n\tlineageTag", "\n    lineageTag"), "indented with spaces"),
    "a lineage tag twice": (
        lambda project: project.replace(
            f"{MODEL}/tables/SHAP.tmdl",
            project.file(f"{MODEL}/tables/SHAP.tmdl").read_text().split("lineageTag: ")[1][:36],
            project.file(f"{MODEL}/tables/SHAP.tmdl").read_text().split("lineageTag: ")[2][:36],
        ),
        "lineageTag",
    ),
}


@pytest.mark.parametrize("fault", REFERENCE_FAULTS)
def test_the_reference_checker_catches(fault: str, copy: Project) -> None:
    put, message = REFERENCE_FAULTS[fault]
    put(copy)
    found = problems(copy.folder, VIEWS)
    assert any(message in problem for problem in found), found


def test_the_data_source_file_names_one_source_and_no_credential() -> None:
    content = json.loads((PROJECT / "mysql.pbids").read_text(encoding="utf-8"))
    (connection,) = content["connections"]
    assert connection["details"]["protocol"] == "mysql"
    assert connection["details"]["address"].keys() == {"server", "database"}
    assert connection["mode"] == "Import"
    assert "authentication" not in connection["details"]


def test_the_server_cuts_sessions_by_time_and_may_take_its_time() -> None:
    """Power BI asks for these two names and this type; folding needs the filter right behind the view."""
    queries = Project(PROJECT).queries()
    for name in ("RangeStart", "RangeEnd"):
        assert re.match(r'#datetime\(\d+, 1, 1, 0, 0, 0\) meta \[.*Type="DateTime"', queries[name])
    ranged = {name: query for name, query in queries.items() if "RangeStart and" in query}
    assert set(ranged) == {"Session", "Session Decision"}
    for query in ranged.values():
        assert re.search(
            r"View = .*\n\s*Range = Table.SelectRows\(View, each \[(\w+)\] >= RangeStart and \[\1\] < RangeEnd\),"
            r"\s*Columns = Table.SelectColumns\(Range,",
            query,
        )
    assert all(
        "CommandTimeout=#duration(0, 4, 0, 0)" in query for query in queries.values() if "MySQL.Database" in query
    )


def test_no_file_holds_a_credential_or_a_machines_path() -> None:
    for path, content in stored(PROJECT).items():
        text = content.decode().lower()
        assert not any(word in text for word in ("password", "pwd=", "uid=", "/home/", "/tmp/", "c:\\")), path
