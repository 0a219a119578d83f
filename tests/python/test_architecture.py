"""The plan of the house: who may import whom, what scoring a row needs, and how large a function may be."""

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from architecture import functions, imports, modules
from paths import ROOT

MOST_POSITIONAL, MOST_LINES = 5, 60
PACKAGES = ("warehouse", "bi", "ingest", "ml", "live", "ops")
Floors = tuple[tuple[str, ...], ...]
# From the ground up. A package imports from itself and from the floors below, never from a neighbour on its own floor.
FLOORS: Floors = (("warehouse",), ("bi", "ingest"), ("ml",), ("live",), ("ops",))
# Inside ml each floor is one room.
ROOMS: Floors = (
    ("ml.arrays", "ml.files", "ml.bootstrap", "ml.config", "ml.cli", "ml.run"),
    ("ml.data",),
    ("ml.conversion",),
    ("ml.experiment",),
    ("ml.uplift",),
    ("ml.policy",),
    ("ml.drift",),
    ("ml.publish",),
    ("ml.reports",),
    ("ml.report",),
    ("ml.parts",),
    ("ml.scoring",),
    ("ml.train", "ml.score", "ml.rollback", "ml.monitor"),
)
# What scoring a row of a running session needs, and what it must be free of.
LIVE = ("ml.conversion.models", "ml.conversion.calibration", "ml.conversion.bands", "ml.conversion.reasons",
        "ml.conversion.champion", "ml.publish.artifacts")  # fmt: skip
NOT_LIVE = ("warehouse.base", "warehouse.duckdb", "warehouse.mysql", "warehouse.open", "ml.data.gates",
            "ml.data.counts", "ml.data.values", "ml.data.leakage", "ml.data.checked", "ml.publish.files",
            "pyarrow.csv", "great_expectations", "duckdb", "mysql")  # fmt: skip


def place(module: str, floors: Floors) -> tuple[int, str] | None:
    """Return the floor and the name under which a module stands there, if it does."""
    for number, names in enumerate(floors):
        for name in names:
            if module == name or module.startswith(f"{name}."):
                return number, name
    return None


def wrong_arrows(floors: Floors, *, to_neighbours: bool) -> list[str]:
    """Name the imports that go up, or to a neighbour on the same floor where that is not allowed."""
    return [
        f"{module} imports {imported}"
        for module, found in imports(modules(ROOT, PACKAGES)).items()
        for imported in sorted(found)
        if (here := place(module, floors)) and (there := place(imported, floors)) and here != there
        if here[0] < there[0] or (here[0] == there[0] and not to_neighbours)
    ]


def test_packages_import_downwards_only() -> None:
    assert wrong_arrows(FLOORS, to_neighbours=False) == []


def test_rooms_of_ml_import_downwards_only() -> None:
    assert wrong_arrows(ROOMS, to_neighbours=True) == []


def test_every_module_of_ml_has_a_room() -> None:
    assert [name for name in modules(ROOT, ("ml",)) if name != "ml" and not place(name, ROOMS)] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(imports(modules(ROOT, PACKAGES))).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_scoring_a_row_needs_no_gate_no_warehouse_and_no_writer() -> None:
    code = f"import sys, {', '.join(LIVE)}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert sorted(set(loaded.stdout.split()) & set(NOT_LIVE)) == []


def test_no_function_has_more_than_five_positional_parameters() -> None:
    found = [each for each in functions(modules(ROOT, PACKAGES)) if each.positional > MOST_POSITIONAL]
    assert not found, "\n".join(f"{each.place}: {each.positional}" for each in found)


def test_no_function_is_longer_than_sixty_lines_without_its_docstring() -> None:
    found = [each for each in functions(modules(ROOT, PACKAGES)) if each.lines > MOST_LINES]
    assert not found, "\n".join(f"{each.place}: {each.lines}" for each in found)


def test_imports_are_seen_wherever_they_stand(tmp_path: Path) -> None:
    for name, text in {
        "ml/__init__": "",
        "ml/a": "def late() -> None:\n    from ml import b\n",
        "ml/b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ml.c import C\n",
        "ml/c": "import ml.a\n",
        "ml/__main__": "from ml.c import main\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    arrows = imports(modules(tmp_path, PACKAGES))
    assert arrows == {"ml": set(), "ml.a": {"ml.b"}, "ml.b": {"ml.c"}, "ml.c": {"ml.a"}}
    with pytest.raises(CycleError):
        TopologicalSorter(arrows).prepare()
