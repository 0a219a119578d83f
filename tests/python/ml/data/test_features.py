"""Roles come from dbt's manifest; inputs are compact, complete and in one order."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import ml.data.rows as data_rows
import ml_mart
from ml.data.features import NONE, check_columns, read_mart
from ml.data.numbers import Numbers
from ml.data.rows import build_dataset, take
from warehouse.contract import read_contracts
from warehouse.errors import FunneliftError


@pytest.fixture(scope="module")
def features_table() -> pa.Table:
    return pa.Table.from_pandas(ml_mart.marts(400, seed=5)["session_features"], preserve_index=False)


def manifest_file(folder: Path, content: object) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps(content))
    return path


def test_roles_groups_and_kinds_are_read(tmp_path: Path) -> None:
    mart = read_mart(read_contracts(manifest_file(tmp_path, ml_mart.manifest())))
    every = [name for names in ml_mart.FEATURES.values() for name in names]
    assert mart.numeric == [name for name in every if name not in ml_mart.CATEGORICAL]
    assert mart.categorical == [name for name in every if name in ml_mart.CATEGORICAL]
    assert mart.names == mart.numeric + mart.categorical
    assert mart.label == "has_transaction"
    assert {feature.group for feature in mart.features} == set(ml_mart.FEATURES)


def test_missing_or_foreign_manifest_says_run_dbt_build(tmp_path: Path) -> None:
    with pytest.raises(FunneliftError, match="run `dbt build` first"):
        read_mart(read_contracts(tmp_path / "none.json"))
    with pytest.raises(FunneliftError, match="no model session_features"):
        read_mart(read_contracts(manifest_file(tmp_path, {"nodes": {}})))
    content = ml_mart.manifest()
    content["nodes"]["model.funnelift.session_features"]["columns"]["is_mature"]["meta"] = {}  # type: ignore[index]
    del content["nodes"]["model.funnelift.session_features"]["columns"]["decided_ms"]  # type: ignore[index]
    with pytest.raises(FunneliftError, match="decided_ms"):
        read_mart(read_contracts(manifest_file(tmp_path, content)))


def test_a_stale_manifest_is_refused(tmp_path: Path) -> None:
    mart = read_mart(read_contracts(manifest_file(tmp_path, ml_mart.manifest())))
    check_columns(mart, mart.columns)
    with pytest.raises(FunneliftError, match=r"stale.*item_price.*new_column.*Run `dbt build`"):
        check_columns(mart, [*(name for name in mart.columns if name != "item_price"), "new_column"])


def test_rows_come_in_one_order_and_keep_their_values(tmp_path: Path, features_table: pa.Table) -> None:
    mart = read_mart(read_contracts(manifest_file(tmp_path, ml_mart.manifest())))
    data = build_dataset(features_table.to_batches(max_chunksize=97), len(features_table), mart)
    frame = features_table.to_pandas().sort_values(["decided_ms", "session_id", "decision_point"], ignore_index=True)
    assert data.identity.column("session_id").to_pylist() == frame["session_id"].tolist()
    assert data.label.tolist() == frame["has_transaction"].tolist()
    for name in mart.numeric:
        np.testing.assert_array_equal(data.inputs[name].to_numpy(), frame[name].to_numpy(np.float32))
    for name in mart.categorical:
        expected = [NONE if value is None or value != value else value for value in frame[name]]
        assert data.inputs[name].tolist() == expected
    shuffled = features_table.take(pa.array(np.random.default_rng(0).permutation(len(features_table))))
    again = build_dataset(shuffled.to_batches(max_chunksize=55), len(shuffled), mart)
    assert again.fingerprint(np.arange(len(again))) == data.fingerprint(np.arange(len(data)))
    again.inputs.iloc[3, 5] += 1
    assert again.fingerprint(np.arange(len(again))) != data.fingerprint(np.arange(len(data)))


def test_features_in_a_file_are_the_same(
    tmp_path: Path, features_table: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    mart = read_mart(read_contracts(manifest_file(tmp_path, ml_mart.manifest())))
    asked = features_table.to_batches(max_chunksize=97), len(features_table), mart
    before = {path.name for path in tmp_path.iterdir()}
    kept, there = build_dataset(*asked), build_dataset(*asked, folder=tmp_path)
    monkeypatch.setattr(data_rows, "PART_ROWS", 50)
    assert (kept.is_on_disk, there.is_on_disk) == (False, True)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert there.fingerprint(np.arange(len(there))) == kept.fingerprint(np.arange(len(kept)))
    rows = np.arange(3, len(kept), 3)
    for data in (kept, there):
        pd.testing.assert_frame_equal(data.taken(rows), kept.inputs.iloc[rows])
        pd.testing.assert_frame_equal(pd.concat(data.parts(rows)), kept.inputs.iloc[rows])
        pd.testing.assert_frame_equal(pd.concat(data.parts(), ignore_index=True), kept.inputs)
    for some in (rows, np.arange(len(kept))):
        assert not take(there, some).is_on_disk
        pd.testing.assert_frame_equal(take(there, some).inputs, take(kept, some).inputs)
        assert take(kept, some).identity.equals(kept.identity.take(pa.array(some)))
    assert len(list(kept.parts())) == 1
    assert [len(part) for part in there.parts(rows)] == [50, 50, 50, len(rows) - 150]


def test_features_in_a_file_are_not_in_memory(tmp_path: Path) -> None:
    numbers = Numbers(8, 4_000_000, tmp_path)

    def held() -> int:
        return int(re.findall(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024

    before = held()
    numbers.values[:] = 1
    written = held()
    numbers.let_go()
    # 128 MB were written; none of them stays, and they are there when looked at again.
    assert written - before > 100e6
    assert held() - before < 10e6
    assert numbers.values[7, ::1000].sum() == 4000


def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    with pytest.raises(FunneliftError, match=r"cannot keep the features of .* rows_in_memory"):
        Numbers(1000, 10**13, tmp_path)


def test_a_mart_that_changes_while_it_is_read_is_refused(tmp_path: Path, features_table: pa.Table) -> None:
    mart = read_mart(read_contracts(manifest_file(tmp_path, ml_mart.manifest())))
    for rows in (len(features_table) - 1, len(features_table) + 1):
        with pytest.raises(FunneliftError, match="while it was read"):
            build_dataset(features_table.to_batches(), rows, mart)


def test_a_shop_whose_sessions_all_buy_at_once_is_told_so(tmp_path: Path) -> None:
    mart = read_mart(read_contracts(manifest_file(tmp_path, ml_mart.manifest())))
    with pytest.raises(FunneliftError, match="no session reaches a decision point before it buys"):
        build_dataset([], 0, mart)
