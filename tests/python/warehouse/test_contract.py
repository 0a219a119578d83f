"""A table's yml is its contract: read with dbt and without it the same, and rows that break it are refused by name."""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from contracts import PUBLISHED, contract
from paths import ROOT
from warehouse.base import Publication
from warehouse.contract import Column, read_contracts, read_project
from warehouse.errors import FunneliftError

SHAPE = contract("alpha", ("id",), id="varchar(4)", n="integer", share="double?", told="text?", at="timestamp?")
ROW = {"id": ["a"], "n": [1], "share": [0.5], "told": ["x"], "at": [datetime(2015, 5, 3, 1, 2, 3)]}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parsed")
    places = {"DBT_TARGET_PATH": str(folder), "DBT_LOG_PATH": str(folder / "logs"), "FUNNELIFT_TARGET": "duckdb"}
    subprocess.run(
        [sys.executable, "-m", "dbt.cli.main", "--quiet", "parse"],
        cwd=ROOT,
        env={**os.environ, **places},
        check=True,
        capture_output=True,
    )
    return folder / "manifest.json"


def test_dbt_and_the_projects_files_say_the_same(manifest: Path) -> None:
    with_dbt, without = read_contracts(manifest), read_project()
    assert dict(with_dbt) == dict(without)
    assert len(without) > 40


def test_the_older_and_the_newer_place_of_meta_are_read(tmp_path: Path) -> None:
    column = {"name": "id", "description": "The id.\n", "data_type": "varchar(4)"}
    node = {"resource_type": "model", "name": "alpha", "fqn": ["shop", "marts", "alpha"], "config": {"meta": {}}}
    found = []
    for meta in ({"meta": {"role": "id"}}, {"config": {"meta": {"role": "id"}}}, {"meta": None, "config": None}):
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps({"nodes": {"alpha": node | {"columns": {"id": column | meta}}}}))
        found += read_contracts(path)["alpha"].columns
    described = ("varchar(4)", True, "The id.")
    assert found == [Column("id", *described, meta) for meta in ({"role": "id"}, {"role": "id"}, {})]


def test_every_prediction_table_can_be_laid_out() -> None:
    for published in PUBLISHED.values():
        empty = published.schema.empty_table()
        assert published.cast(empty).schema == published.schema
        assert set(published.grain) <= set(published.column_names)
        assert not [
            column.name for column in published.columns if column.is_nullable and column.name in published.grain
        ]
        assert {"run_id", "model_version", "scored_at"} <= set(published.column_names)


def test_columns_are_put_in_order_and_cast() -> None:
    rows = SHAPE.cast(pa.table({name: [True] if name == "n" else ROW[name] for name in reversed(ROW)}))
    assert rows.schema == SHAPE.schema
    assert rows.to_pylist() == [{name: values[0] for name, values in ROW.items()}]


def test_texts_keep_their_dictionary() -> None:
    coded = pa.array(["a", "a"]).dictionary_encode()
    two = {name: values * 2 for name, values in ROW.items()}
    rows = SHAPE.cast(pa.table({**two, "told": coded}))
    assert pa.types.is_dictionary(rows.schema.field("told").type)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"n": None}, r"rows of alpha lack \['n'\] .* have nothing that it does not"),
        ({"more": [1]}, r"rows of alpha lack nothing .* have \['more'\] that it does not"),
        ({"id": [None]}, r"alpha\.id has 1 nulls and may have none"),
        ({"n": [1.5]}, r"alpha\.n is integer, and its values are double"),
        ({"n": [2**40]}, r"alpha\.n is integer, and its values are int64"),
        ({"n": ["one"]}, r"alpha\.n is integer, and its values are string"),
        ({"id": ["abcde"]}, r"alpha\.id has room for 4 characters, and a text has 5"),
    ],
)
def test_rows_that_break_the_contract_are_refused_by_name(change: dict[str, object], complaint: str) -> None:
    columns = {name: values for name, values in ({**ROW, **change}).items() if values is not None}
    with pytest.raises(FunneliftError, match=complaint):
        Publication(SHAPE, pa.table(columns))


def test_characters_are_counted_not_bytes() -> None:
    assert len(SHAPE.cast(pa.table({**ROW, "id": ["😀😀😀😀"]}))) == 1


def test_an_unknown_type_names_the_column() -> None:
    with pytest.raises(FunneliftError, match=r"column n has the data_type 'money'; known are varchar, text, integer"):
        contract("alpha", ("n",), n="money").schema  # noqa: B018


def test_a_table_that_nobody_described_is_named(tmp_path: Path) -> None:
    with pytest.raises(FunneliftError, match=r"knows no model nothing: run `dbt build`"):
        read_project()["nothing"]
    path = tmp_path / "manifest.json"
    node = {"resource_type": "model", "name": "alpha"}
    for content in ("", "[]", "null", "{}", '{"nodes": []}', json.dumps({"nodes": {"alpha": node}})):
        path.write_text(content)
        with pytest.raises(FunneliftError, match="cannot read the dbt manifest"):
            read_contracts(path)
