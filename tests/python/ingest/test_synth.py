"""The synth command: its files, its determinism and what it refuses."""

import hashlib
import json
import re
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from ingest.synth import calibration as facts
from ingest.synth import command, files
from ingest.synth import visitors as synth_visitors

WEEK_MS = 7 * 24 * 3_600_000
# Of 2,000 visitors with seed 1. A change of the generator changes it on purpose; a machine or a numpy must not.
GOLDEN = "871dc8c11429"


def digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for name in sorted(path.name for path in folder.iterdir()):
        whole.update(name.encode() + b"\0" + (folder / name).read_bytes())
    return whole.hexdigest()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    files.synthesise(folder, 2_000, 1, show_progress=False)
    return folder


@pytest.fixture(scope="module")
def events(small: Path) -> pd.DataFrame:
    return pd.read_csv(small / "events.csv", dtype={"transactionid": "Int64"})


@pytest.fixture(scope="module")
def properties(small: Path) -> pd.DataFrame:
    parts = [pd.read_csv(small / name, dtype={"property": str, "value": str}) for name in files.PROPERTIES]
    return pd.concat(parts)


def test_files_have_retailrocket_headers(small: Path) -> None:
    assert sorted(path.name for path in small.iterdir()) == sorted(files.FILES)
    headers = {name: (small / name).read_text().splitlines()[0] for name in files.FILES if name.endswith(".csv")}
    assert headers == {
        "events.csv": "timestamp,visitorid,event,itemid,transactionid",
        "item_properties_part1.csv": "timestamp,itemid,property,value",
        "item_properties_part2.csv": "timestamp,itemid,property,value",
        "category_tree.csv": "categoryid,parentid",
    }


def test_lines_look_like_the_original(small: Path) -> None:
    patterns = {
        "category_tree.csv": r"\d+,\d*",
    }
    patterns["events.csv"] = r"14\d{11},\d+,(?:(?:view|addtocart),\d+,|transaction,\d+,\d+)"
    patterns |= dict.fromkeys(files.PROPERTIES, r"14\d{11},\d+,(?:790,n\d+\.000|available,[01]|categoryid,\d+|\d+,.+)")
    for name, pattern in patterns.items():
        lines = (small / name).read_text().splitlines()[1:]
        assert [line for line in lines if not re.fullmatch(pattern, line)] == [], name


def test_every_visitor_is_there_inside_the_period(events: pd.DataFrame) -> None:
    assert set(events["visitorid"]) == set(range(2_000))
    assert events["timestamp"].between(facts.PERIOD_START_MS, facts.PERIOD_END_MS - 1).all()


def test_an_order_is_one_visitor_s(events: pd.DataFrame) -> None:
    sold = events[events["event"] == "transaction"]
    assert len(sold)
    assert (sold.groupby("transactionid")["visitorid"].nunique() == 1).all()


def test_events_are_unsorted_with_late_rows(events: pd.DataFrame) -> None:
    behind = events["timestamp"].cummax() - events["timestamp"]
    assert (behind > 0).mean() > 0.2
    assert (behind > 24 * 3_600_000).mean() > 0.001


def test_category_tree_is_the_original_s_shape(small: Path) -> None:
    tree = pd.read_csv(small / "category_tree.csv", dtype={"parentid": "Int64"})
    parent = {c: None if pd.isna(p) else int(p) for c, p in zip(tree["categoryid"], tree["parentid"], strict=True)}
    assert len(parent) == len(tree) == facts.CATEGORIES

    def depth(category: int) -> int:
        above = parent[category]
        return 0 if above is None else 1 + depth(above)

    assert tuple(count for _, count in sorted(Counter(map(depth, parent)).items())) == facts.CATEGORIES_BY_DEPTH


def test_properties_are_weekly_snapshots_that_change(properties: pd.DataFrame) -> None:
    weeks, rest = divmod(properties["timestamp"] - facts.FIRST_SNAPSHOT_MS, WEEK_MS)
    assert (rest == 0).all()
    assert weeks.between(0, facts.SNAPSHOTS - 1).all()
    for name in ("790", "available"):
        history = properties[properties["property"] == name].sort_values("timestamp").groupby("itemid")["value"]
        assert (history.nunique() > 1).mean() > 0.2, name
        assert not history.apply(lambda values: (values == values.shift()).any()).any(), name
    moved = properties[properties["property"] == "categoryid"].groupby("itemid")["value"].nunique()
    assert 0 < (moved > 1).mean() < 0.1
    assert len(set(properties["property"]) - {"790", "available", "categoryid"}) > 1


def test_property_rows_are_split_like_the_original(small: Path) -> None:
    first, second = (len((small / name).read_text().splitlines()) - 1 for name in files.PROPERTIES)
    assert first / (first + second) == pytest.approx(0.5425, abs=0.001)


def test_marker_names_generator_visitors_and_seed(small: Path) -> None:
    marker = json.loads((small / "synthetic.json").read_text())
    assert marker["synthetic"] is True
    assert (marker["generator_version"], marker["visitors"], marker["seed"]) == (files.GENERATOR_VERSION, 2_000, 1)


def test_same_visitors_and_seed_give_the_same_bytes(small: Path, tmp_path: Path) -> None:
    files.synthesise(tmp_path, 2_000, 1, show_progress=False)
    assert digest(tmp_path) == digest(small)
    assert digest(small).startswith(GOLDEN)


def test_another_seed_gives_other_bytes(small: Path, tmp_path: Path) -> None:
    files.synthesise(tmp_path, 2_000, 2, show_progress=False)
    names = [name for name in files.FILES if (tmp_path / name).read_bytes() == (small / name).read_bytes()]
    assert names == []


@pytest.mark.parametrize("visitors", [100, 1_001])
def test_blocks_of_visitors_join_without_a_seam(visitors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth_visitors, "BLOCK_VISITORS", 60)
    files.synthesise(tmp_path, visitors, 3, show_progress=False)
    events = pd.read_csv(tmp_path / "events.csv")
    assert set(events["visitorid"]) == set(range(visitors))
    assert (events.dropna().groupby("transactionid")["visitorid"].nunique() == 1).all()


def run(out: Path, visitors: int = 100, seed: int = 1) -> int:
    return command.run(Namespace(out=out, visitors=visitors, seed=seed))


@pytest.mark.parametrize(
    ("visitors", "seed", "message"),
    [(99, 1, "--visitors is 99"), (-5, 1, "--visitors is -5"), (100, -1, "--seed is -1")],
)
def test_numbers_out_of_range_are_refused(
    visitors: int, seed: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    assert run(out, visitors, seed) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_file_as_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert run(file) == 2
    assert "is a file" in capsys.readouterr().err
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", ["notes.txt", "events.csv"])
def test_a_folder_with_other_files_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("mine")
    assert run(tmp_path) == 2
    assert name in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_foreign_file_beside_an_earlier_output_is_refused(tmp_path: Path) -> None:
    assert run(tmp_path) == 0
    (tmp_path / "notes.txt").write_text("mine")
    before = digest(tmp_path)
    assert run(tmp_path, seed=2) == 2
    assert digest(tmp_path) == before


def test_an_earlier_output_is_replaced(tmp_path: Path) -> None:
    assert run(tmp_path, seed=1) == 0
    first = digest(tmp_path)
    assert run(tmp_path, seed=2) == 0
    assert digest(tmp_path) != first
    assert run(tmp_path, seed=1) == 0
    assert digest(tmp_path) == first


def test_a_run_that_dies_leaves_the_earlier_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 0
    before = digest(tmp_path)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(files, "_tree_table", full)
    assert run(tmp_path, seed=2) == 1
    assert "No space left" in capsys.readouterr().err
    assert digest(tmp_path) == before


def test_command_line_says_what_it_wrote(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "ingest",
        "synth",
        "--out",
        str(tmp_path / "new"),
        "--visitors",
        "100",
        "--seed",
        "7",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "SYNTHETIC" in last
    assert "100 visitors" in last
    assert done.stdout == ""


def test_command_line_refuses_words_for_numbers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ingest", "synth", "--out", str(tmp_path), "--visitors", "many"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--visitors" in done.stderr
