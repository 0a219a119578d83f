"""Category trees that no shop means: the build says what is wrong and where, and goes on only where it is told to."""

import datetime as dt
from pathlib import Path

import duckdb
import pytest

from compiled import parsed_project, run_dbt
from history import History

LOADED = dt.datetime(2015, 6, 2)
DEEP = [(f"level {level}", f"level {level - 1}") for level in range(1, 5)]


def build(database: Path, tree: list[tuple[str, str]], **settings: bool | int) -> tuple[bool, str, str]:
    """Whether dim_category was built, and what was complained of and warned of."""
    if not database.exists():
        history = History(database)
        history.load("raw_category_tree", ("categoryid", "parentid"), [("good", "root"), *tree], LOADED)
    select = ("--select", "+dim_category", "--indirect-selection", "buildable")
    manifest = parsed_project().deepcopy()
    outcome = run_dbt("build", *select, database=database, manifest=manifest, category_max_depth=3, **settings)
    return bool(outcome.success), outcome.errors, outcome.warnings


@pytest.mark.parametrize(
    ("tree", "count", "complaint"),
    [
        (
            [("b", "c"), ("c", "d"), ("d", "b"), ("a'a", "b")],
            4,
            "b (1.csv) goes in a circle: b under c under d under b.",
        ),
        ([("own", "own")], 1, "own (1.csv) goes in a circle: own under own."),
        (DEEP, 1, "level 4 (1.csv) lies deeper than category_max_depth allows, 3 levels below its root."),
    ],
)
def test_a_tree_without_a_root_is_named_and_cut_only_where_that_is_allowed(
    tree: list[tuple[str, str]], count: int, complaint: str, tmp_path: Path
) -> None:
    database = tmp_path / "world.duckdb"
    succeeded, errors, _ = build(database, tree)
    assert not succeeded
    for part in (f"Category tree: {count} categor", complaint, "ingest unload", "{cut_category_branches: true}"):
        assert part in errors
    assert ("raise category_max_depth" in errors) == (tree == DEEP)
    succeeded, errors, warnings = build(database, tree, cut_category_branches=True)
    assert succeeded, errors
    assert complaint in warnings
    with duckdb.connect(str(database)) as connection:
        rows = connection.execute(
            "select category_id, parent_category_id, root_category_id, depth, is_root, is_complete "
            "from funnelift.dim_category where is_complete = 0 or category_id = 'good'"
        ).fetchall()
    alone = sorted(category for category, _ in tree)[-count:]
    assert sorted(rows) == sorted(
        [("good", "root", "root", 1, 0, 1), *((category, None, category, 0, 1, 0) for category in alone)]
    )


def test_a_tree_of_the_greatest_depth_has_its_root(tmp_path: Path) -> None:
    succeeded, errors, warnings = build(tmp_path / "world.duckdb", DEEP[:3])
    assert succeeded, errors
    assert "Category tree" not in warnings
