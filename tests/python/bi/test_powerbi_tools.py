"""The committed Power BI project read by Microsoft's own tools, each shown to catch a fault put into a copy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bi import measures as numbers
from bi.powerbi import star
from bi.tables import power_bi_names
from powerbi_project import MODEL, PROJECT, REPORT, Project, copied
from powerbi_tools import Tools, tools

VISUALS = f"{REPORT}/pages/*/visuals/*/visual.json"
TABLES = f"{MODEL}/tables/*.tmdl"


@pytest.fixture(scope="module")
def node() -> Tools:
    return tools("node")


@pytest.fixture(scope="module")
def tom() -> Tools:
    return tools("node", "tom")


@pytest.fixture(scope="module")
def model(tom: Tools) -> dict[str, Any]:
    (read,) = tom.models(PROJECT / MODEL)
    return read


@pytest.fixture
def copy(tmp_path: Path) -> Project:
    return copied(tmp_path)


def with_role(kind: str, role: str) -> Callable[[Project], None]:
    """Call a role of the first visual of a kind something else."""

    def put(project: Project) -> None:
        for path, visual in project.json_files().items():
            if path.endswith("visual.json") and visual["visual"]["visualType"] == kind:
                project.replace(path, f'"{role}": {{', '"Wrong": {')
                return

    return put


REPORT_FAULTS: dict[str, Callable[[Project], None]] = {
    "an unknown role of a card": with_role("cardVisual", "Data"),
    "an unknown role of a funnel": with_role("funnel", "Y"),
    "an unknown role of a line chart": with_role("lineChart", "Category"),
    "an unknown role of a donut": with_role("donutChart", "Y"),
    "an unknown role of a scatter chart": with_role("scatterChart", "X"),
    "an unknown role of a slicer": with_role("slicer", "Values"),
    "an unknown role of a table": with_role("tableEx", "Values"),
    "an unknown role of a matrix": with_role("pivotTable", "Rows"),
    "an unknown kind of visual": lambda project: project.replace(VISUALS, '"funnel"', '"funnelChart"'),
    "a missing page file": lambda project: project.file(f"{REPORT}/pages/*/page.json").unlink(),
    "a missing visual file": lambda project: project.file(VISUALS).unlink(),
    "a missing version file": lambda project: (project.folder / REPORT / "version.json").unlink(),
}


def test_microsofts_validator_finds_nothing_in_the_report(node: Tools) -> None:
    assert node.report_errors(PROJECT / "Funnelift.pbip") == {}


@pytest.mark.parametrize("fault", REPORT_FAULTS)
def test_microsofts_validator_catches(fault: str, copy: Project, node: Tools) -> None:
    REPORT_FAULTS[fault](copy)
    assert node.report_errors(copy.folder / "Funnelift.pbip") != {}


def test_every_query_is_well_formed_power_query(node: Tools) -> None:
    errors = node.query_errors(Project(PROJECT).queries())
    assert set(errors) == {*power_bi_names().values(), "MySQLServer", "MySQLDatabase", "RangeStart", "RangeEnd"}
    assert set(errors.values()) == {None}


@pytest.mark.parametrize(
    ("old", "new"), [("in\n", "\n"), ("]}[Data]", "}[Data]"), ('"session_id"', '"session_id'), ("let", "")]
)
def test_microsofts_parser_catches_a_broken_query(old: str, new: str, node: Tools) -> None:
    query = Project(PROJECT).queries()["Session"]
    errors = node.query_errors({"whole": query, "broken": query.replace(old, new, 1)})
    assert errors["whole"] is None
    assert errors["broken"] is not None


def test_microsofts_object_model_reads_the_model(model: dict[str, Any]) -> None:
    assert model["error"] is None
    expected = {table.name for table in star.tables()}
    assert set(model["tables"]) == expected
    assert {name for table in model["tables"].values() for name in table["measures"]} == {
        measure.name for measure in numbers.all_measures()
    }


def test_implicit_measures_are_discouraged_and_nothing_adds_up_by_itself(model: dict[str, Any]) -> None:
    assert model["discourages_implicit_measures"]
    assert {column[2] for table in model["tables"].values() for column in table["columns"].values()} == {"None"}


def test_every_table_column_and_measure_is_described_and_every_measure_has_its_place(model: dict[str, Any]) -> None:
    for name, table in model["tables"].items():
        assert table["description"], name
        assert table["modes"] == ["Import"], name
        for column, (description, _, _) in table["columns"].items():
            assert description, f"{name}[{column}]"
        for measure, (description, format_string, folder) in table["measures"].items():
            assert description, measure
            assert folder, measure
            assert format_string or measure in {each.name for each in numbers.all_measures() if each.unit == "text"}


def test_relationships_filter_one_way_and_their_keys_on_the_facts_are_hidden(model: dict[str, Any]) -> None:
    assert len(model["relationships"]) == len(star.relationships())
    for many, _, direction in model["relationships"]:
        table, column = many.rstrip("]").split("[")
        assert direction == "OneDirection", many
        assert model["tables"][table]["columns"][column][1], f"{many} is not hidden"


MODEL_FAULTS: dict[str, Callable[[Project], None]] = {
    "an unknown property": lambda project: project.replace(TABLES, "\t\tdataType:", "\t\tdatatyp:"),
    "an unknown type": lambda project: project.replace(TABLES, "dataType: string", "dataType: text"),
    "an unknown object": lambda project: project.replace(TABLES, "\n\tcolumn ", "\n\tcolum "),
    "a lost indent": lambda project: project.replace(TABLES, "\n\t\tlineageTag", "\nlineageTag"),
    "an unquoted name": lambda project: project.replace(TABLES, "measure 'View sessions'", "measure View sessions"),
    "a column twice": lambda project: project.replace(TABLES, "\tcolumn risk_band_number", "\tcolumn risk_band"),
    "a relationship of a missing column": lambda project: project.replace(
        f"{MODEL}/relationships.tmdl", "Date.date_day", "Date.day"
    ),
    "a sort by a missing column": lambda project: project.replace(
        TABLES, "sortByColumn: risk_band_number", "sortByColumn: band_number"
    ),
    "a wrong version": lambda project: project.replace(f"{MODEL}/database.tmdl", "1601", "sixteen"),
}


@pytest.fixture(scope="module")
def faulty_models(tom: Tools, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the object model says of every faulty copy, in one process because it takes a second to start."""
    copies = {fault: copied(tmp_path_factory.mktemp("fault")) for fault in MODEL_FAULTS}
    for fault, project in copies.items():
        MODEL_FAULTS[fault](project)
    read = tom.models(*(project.folder / MODEL for project in copies.values()))
    return dict(zip(copies, read, strict=True))


@pytest.mark.parametrize("fault", MODEL_FAULTS)
def test_microsofts_object_model_catches(fault: str, faulty_models: dict[str, dict[str, Any]]) -> None:
    assert faulty_models[fault]["error"]
