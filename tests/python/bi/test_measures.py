"""Measures are data: an entry of a yml file is a measure everywhere, and a faulty one is named with what to do."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bi.measures import PARAMETERS, MeasureError, all_measures, measure_sql, read_measures
from bi.measures.model import FORMATS
from bi.measures.read import FOLDER
from bi.measures.sql import STORED, measures_sql, together
from bi.tables import known_columns, power_bi_names, shown
from paths import ROOT

OWN = """
page: Funnel Overview
groups:
  - folder: Mine
    table: bi_sessions
    measures:
      - name: Value per cart
        description: Mean value of a cart.
        unit: currency
        kind: mean
        column: carted_value
        only: {has_addtocart: 1}
"""


def test_a_measure_is_added_by_yml_alone(tmp_path: Path) -> None:
    """An analyst's copy of the project, with one file more and no line of Python."""
    shutil.copytree(ROOT / "bi", tmp_path / "bi")
    (tmp_path / "bi" / "measures" / "mine.yml").write_text(OWN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    ask = (
        "from bi.measures import all_measures, measure_sql; "
        "print(*measure_sql(next(each for each in all_measures() if each.name == 'Value per cart'), ['visitor_type']))"
    )
    queried, _ = (
        subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        )
        for words in (["-c", ask], ["-m", "bi", "--out", "out"])
    )
    assert queried.stdout.strip() == (
        "select visitor_type, avg(carted_value) as value from funnelift.bi_session_facts where (has_addtocart = 1) "
        "group by visitor_type order by visitor_type []"
    )
    (path,) = (tmp_path / "out").rglob("Key Measures.tmdl")
    assert (
        "\t/// Mean value of a cart.\n"
        "\tmeasure 'Value per cart' = CALCULATE(AVERAGE('Session'[carted_value]), "
        "KEEPFILTERS('Session'[has_addtocart] = 1))\n"
        "\t\tformatString: #,0\n"
        "\t\tdisplayFolder: Funnel Overview\\Mine\n"
    ) in path.read_text()


def test_the_command_names_what_is_wrong_with_a_measure(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "bi", tmp_path / "bi")
    (tmp_path / "bi" / "measures" / "mine.yml").write_text(OWN.replace("carted_value", "cart_value"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    words = [sys.executable, "-m", "bi", "--out", "out"]
    finished = subprocess.run(words, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert finished.returncode == 1
    assert finished.stderr.startswith(
        "mine.yml: measure 'Value per cart': column: bi_sessions has no column 'cart_value'; it has session_id, "
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: mean", "kind: average", r"measure 'Value per cart': kind: Input should be 'sql', 'count', "),
        ("unit: currency", "unit: money", "measure 'Value per cart': unit: Input should be 'sessions', "),
        ("unit: currency", "units: currency", "measure 'Value per cart': units: unknown key; docs/powerbi.md lists"),
        ("        unit: currency\n", "", "measure 'Value per cart': unit: missing; add it"),
        ("name: Value per cart", "title: Value per cart", "measure number 1: name: missing; add it"),
        ("name: Value per cart", "name: Value [cart]", "name: 'Value .cart.' is no name; leave out square brackets"),
        ("name: Value per cart", "name: SESSIONS", "'SESSIONS': name: another measure is called so, .* choose another"),
        ("a cart.", "a cart", "measure 'Value per cart': description: must be a sentence; end it with a full stop"),
        (
            "a cart.",
            "a cart. {note}",
            "measure 'Value per cart': description: there is no term 'note' under terms: none",
        ),
        ("table: bi_sessions", "table: sessions", "table: there is no table 'sessions'; there are bi_sessions, "),
        ("        column: carted_value\n", "", "column: missing; a measure of kind mean needs column"),
        (
            "kind: mean",
            "kind: count",
            "column: a measure of kind count takes none; leave it out or choose another kind",
        ),
        ("kind: mean", "kind: ratio", "column: a measure of kind ratio takes none"),
        ("kind: mean\n", "kind: mean\n        sql: avg(revenue)\n", "sql: a measure of kind mean takes none"),
        ("kind: mean\n", "kind: mean\n        bounds: [revenue, revenue]\n", "bounds: only a measure of kind single"),
        (
            "kind: mean\n",
            "kind: mean\n        top: risk_band\n",
            "top: top and top_order go together; give both or none",
        ),
        ("has_addtocart: 1", "has_cart: 1", "only: bi_sessions has no column 'has_cart'; it has session_id, "),
        ("has_addtocart: 1", "risk_band: x' or '1", "only: risk_band cannot be \"x' or '1\"; use letters, digits"),
        ("    table: bi_sessions", "    table: bi_sessions\n    where: is_bot = 0", "only: its group has a where"),
        ("page: Funnel Overview", "page: Funnel", "mine.yml: page: Input should be 'Funnel Overview', "),
        ("folder: Mine", "folders: Mine", "mine.yml: group number 1: folder: missing; add it"),
        ("groups:", "groups: [", "mine.yml: no valid YAML: "),
    ],
)
def test_what_is_wrong_with_a_file_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "measures"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    assert old in OWN
    (folder / "mine.yml").write_text(OWN.replace(old, new, 1))
    with pytest.raises(MeasureError, match=f"(?m)^mine.yml: .*{message.removeprefix('mine.yml: ')}"):
        read_measures(folder)


def test_a_term_may_name_another_and_bounds_are_measures_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("""
page: ROI Projection
terms: {cost: "sum({unit})", unit: cost_units, note: Simulated.}
groups:
  - folder: Mine
    table: bi_roi
    only: {strategy: uplift}
    measures:
      - {name: Paid, description: "What is paid. {note}", unit: count, sql: "{cost} * 2", dax: "2 * SUM(@[cost_units])"}
      - {name: Gain, description: A gain., unit: ratio, kind: single, column: profit, bounds: [roi, profit]}
""")
    paid, *gains = read_measures(tmp_path)
    assert (paid.sql, paid.description) == ("sum(cost_units) * 2", "What is paid. Simulated.")
    assert paid.dax == "CALCULATE(2 * SUM('ROI'[cost_units]), KEEPFILTERS('ROI'[strategy] = \"uplift\"))"
    assert [each.name for each in gains] == ["Gain", "Gain lower", "Gain upper"]
    assert gains[1].sql == "case when count(*) = 1 then max(roi) end"
    assert gains[1].description == "Lower end of the 95 % interval of Gain."
    assert {each.where for each in (paid, *gains)} == {"strategy = 'uplift'"}


def test_every_unit_is_used_and_what_the_star_names_is_there() -> None:
    assert {measure.unit for measure in all_measures()} == FORMATS.keys()
    assert {name for measure in all_measures() for name in measure.parameters} == PARAMETERS.keys()
    for table, entry in shown()["tables"].items():
        assert set(entry["shown"]) <= set(known_columns()[table]), table
    everywhere = {column for columns in known_columns().values() for column in columns}
    assert {*shown()["left_out"], *shown()["sorted_by"], *shown()["sorted_by"].values()} <= everywhere
    assert len(set(power_bi_names().values())) == len(power_bi_names())


def test_every_measure_is_a_query() -> None:
    for measure in all_measures():
        sql, values = measure_sql(measure)
        assert sql.count("?") == len(values) == 0
        assert f"funnelift.{measure.table}" in sql or f"funnelift.{STORED[measure.table]}" in sql
        asked, bound = measure_sql(measure, parameters=dict.fromkeys(PARAMETERS, 1.0))
        assert asked.count("?") == len(bound) == len(measure.parameters)


def test_what_only_predictions_know_is_asked_of_the_view() -> None:
    named = {measure.name: measure for measure in all_measures()}
    for name, by, table in (
        ("Sessions", [], "bi_session_facts"),
        ("Sessions", ["visitor_type", "started_date"], "bi_session_facts"),
        ("Median view to cart seconds", ["visitor_type"], "bi_session_facts"),
        ("Sessions", ["risk_band"], "bi_sessions"),
        ("Open sessions", [], "bi_sessions"),
        ("Predicted uplift", [], "bi_sessions"),
    ):
        assert re.findall(r"from funnelift\.(\w+)", measure_sql(named[name], by)[0]) == [table], (name, by)
    assert "from funnelift.bi_sessions " in measure_sql(named["Sessions"], where={"risk_band": ["high"]})[0]
    # The view takes each of these columns from the table as it is.
    (model,) = (ROOT / "models").rglob("bi_sessions.sql")
    text = model.read_text(encoding="utf-8").replace("{{ step }}", "step")
    for view, stored in STORED.items():
        for column in set(known_columns()[view]) & set(known_columns()[stored]):
            assert f"facts.{column}," in text or ("facts.has_step," in text and column.startswith("has_")), column


def test_sums_over_some_of_the_rows_are_asked_beside_those_of_all() -> None:
    named = {measure.name: measure for measure in all_measures()}
    asked = [named[name] for name in ("Revenue lost", "Sessions", "Revenue")]
    (group,) = together(asked)
    sql, _ = measures_sql(group, ["visitor_type"])
    assert "sum(case when has_transaction = 0 then abandoned_value end) as" in sql
    assert " where " not in sql
    # What is no sum or mean of one column keeps its filter, and so does what is asked alone.
    apart = together([named["Sessions"], named["Treated conversion"]])
    assert [len(each) for each in apart] == [1, 1]
    assert measure_sql(named["Revenue lost"])[0].endswith(" where (has_transaction = 0)")
    # A filter goes on where another ends, not in the middle of a word or of an alternative.
    base = replace(named["Revenue"], where="is_bot = 1")
    for where, groups in (
        ("is_bot = 1 and is_closed = 1", 1),
        ("is_bot = 10", 2),
        ("is_bot = 1 and a = 1 or b = 1", 2),
    ):
        assert len(together([base, replace(base, name="other", where=where)])) == groups, where
