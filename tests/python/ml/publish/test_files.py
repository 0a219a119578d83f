"""A run's files: all in place at the end, and nothing left of runs that were killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from ml.publish.files import leave_out, place_models, staged_files, write_csv
from paths import ROOT
from warehouse.errors import FunneliftError

DEAD, ALIVE, OWN = "20150503T030000000Z", "20150503T040000000Z", "20150503T050000000Z"
# A run that stages files, says so and waits.
RUN = """
import sys
from pathlib import Path
from ml.publish.files import place_models, staged_files, write_csv
results, run_id, placed = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "placed"
with staged_files(results, run_id) as folder:
    (folder / "models" / run_id).mkdir(parents=True)
    (folder / "models" / run_id / "model.cbm").write_text(run_id)
    (folder / "model_card.md").write_text(run_id)
    if placed:
        place_models(results, run_id)
    print("staged", flush=True)
    sys.stdin.read()
"""


def start(results: Path, run_id: str, placed: str = "") -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(results), run_id, placed],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "staged\n"
    return process


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(results: Path) -> set[str]:
    return {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}


def test_what_a_killed_run_has_left_goes_while_another_run_is_alive(tmp_path: Path) -> None:
    with start(tmp_path, ALIVE) as alive:
        kill(start(tmp_path, DEAD))
        assert names(tmp_path) == {
            f".{run}/{file}" for run in (DEAD, ALIVE) for file in (f"models/{run}/model.cbm", "model_card.md")
        }
        (tmp_path / ".cache").mkdir()
        with staged_files(tmp_path, OWN):
            pass
        assert {path.name for path in tmp_path.iterdir()} == {".cache", f".{ALIVE}"}
        alive.communicate("")
    assert names(tmp_path) == {f"models/{ALIVE}/model.cbm", "model_card.md"}


@pytest.mark.parametrize("is_registered", [False, True])
def test_the_registry_says_what_becomes_of_a_killed_runs_files(tmp_path: Path, is_registered: bool) -> None:
    """Killed after its models are in place: its tables may be published or not."""
    (tmp_path / "model_card.md").write_text("older")
    kill(start(tmp_path, DEAD, "placed"))
    assert names(tmp_path) == {f"models/{DEAD}/model.cbm", f".{DEAD}/model_card.md", "model_card.md"}
    with staged_files(tmp_path, OWN, lambda run_id: is_registered and run_id == DEAD):
        pass
    assert names(tmp_path) == ({f"models/{DEAD}/model.cbm", "model_card.md"} if is_registered else {"model_card.md"})
    assert (tmp_path / "model_card.md").read_text() == (DEAD if is_registered else "older")
    assert {path.name for path in tmp_path.iterdir()} == {"models", "model_card.md"}


def test_a_file_that_a_run_leaves_out_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "model_card.md").write_text("older")
    with staged_files(tmp_path, OWN) as folder:
        leave_out(folder / "model_card.md")
        leave_out(folder / "never" / "there.csv")
        assert names(tmp_path) >= {"model_card.md"}
    assert names(tmp_path) == set()


def test_after_a_failure_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gate"), staged_files(tmp_path, OWN) as folder:  # noqa: PT012
        (folder / "model_card.md").write_text("new")
        raise ValueError("gate")
    assert list(tmp_path.iterdir()) == []


def test_models_wait_for_the_next_run_when_the_publication_fails(tmp_path: Path) -> None:
    """Whether the tables were published is not known to a run whose connection is lost."""
    with pytest.raises(ValueError, match="lost"), staged_files(tmp_path, OWN) as folder:  # noqa: PT012
        (folder / "models" / OWN).mkdir(parents=True)
        place_models(tmp_path, OWN)
        raise ValueError("lost")
    assert {path.name for path in tmp_path.iterdir()} == {"models", f".{OWN}"}
    with staged_files(tmp_path, ALIVE):
        pass
    assert names(tmp_path) == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with (
        pytest.raises(FunneliftError, match=r"cannot write results to .*: Permission denied"),
        staged_files(tmp_path, OWN),
    ):
        pass


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with (
        pytest.raises(FunneliftError, match=r"cannot write results to .*results: .* \(--results"),
        staged_files(tmp_path / "results", OWN),
    ):
        pass


def test_a_csv_starts_no_cell_as_a_formula(tmp_path: Path) -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\tx", "a=1", "", None]
    table = pa.table({"id": texts, "code": pa.array(texts).dictionary_encode(), "score": [-1.0] * len(texts)})
    write_csv(tmp_path / "rows.csv", table)
    lines = (tmp_path / "rows.csv").read_text().replace('"', "").splitlines()[1:]
    expected = ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "a=1", "", ""]
    assert lines == [f"{text},{text},-1" for text in expected]
