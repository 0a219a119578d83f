"""A backup brings everything back cell by cell; it is there whole or not at all, and so is what it restores."""

import argparse
import hashlib
import signal
import subprocess
import sys
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import pytest

import warehouse.mysql_client.dump as dump
from loading import EVENTS_HEADER, AnyShop, Outcome, make_any_shop
from ops import backup
from paths import ROOT
from warehouse.mysql import LOAD_LOCK, LOCK
from warehouse.mysql_client.session import COLLATION

ENGINES = ["duckdb", pytest.param("mysql", marks=pytest.mark.server)]
# The names of a server's own locks are no part of what is saved.
SAVED = "table_schema like 'funnelift%' and table_name <> 'run_locks'"
COLUMNS = (
    "select table_schema, table_name, column_name, data_type, is_nullable from information_schema.columns "
    f"where {SAVED} order by 1, 2, ordinal_position"
)

SHAPES = (
    "select table_schema, table_name, column_name, column_type, column_key, collation_name from "
    f"information_schema.columns where {SAVED} order by 1, 2, ordinal_position"
)


@pytest.fixture(params=ENGINES)
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AnyShop:
    monkeypatch.setenv("FUNNELIFT_RESULTS", str(tmp_path / "results"))
    return make_any_shop(request, tmp_path, monkeypatch, capsys)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    (folder / "models" / "run").mkdir(parents=True)
    (folder / "models" / "run" / "champion.bin").write_bytes(bytes(range(256)) * 100)
    (folder / "report.html").write_text("<p>ä</p>", encoding="utf-8")
    (folder / ".unfinished").mkdir()
    return folder


def run(shop: AnyShop, *words: str) -> Outcome:
    parser = argparse.ArgumentParser()
    backup.add_parser(parser.add_subparsers())
    args = parser.parse_args(words)
    code = args.run(args)
    return Outcome(code, shop.shop.capture())


def fill(shop: AnyShop) -> None:
    """Raw rows, and a mart and a view as builds leave them, with what copying by text would spoil."""
    lines = "1437926001434,a,view,1,\n1437926001435,😀,view,a\\n'\"%s,\n1437926001436,A,transaction,2,o1\n"
    outcome = shop.load(shop.write("a.csv", EVENTS_HEADER + lines))
    assert outcome.code == 0, outcome.output
    utf8 = "" if shop.server is None else f"character set utf8mb4 collate {COLLATION}"
    unbounded = "text" if shop.server is None else "mediumtext"
    moment = "timestamp" if shop.server is None else "datetime(6)"
    shop.execute(
        f"create schema if not exists funnelift {utf8}",
        f"create table funnelift.marts (id varchar(20) not null primary key, money decimal(18, 4), score double, "
        f"note {unbounded}, seen_at {moment})",
        "insert into funnelift.marts values "
        "('a', 12345678901234.5678, 0.1, '', timestamp '2026-01-02 03:04:05.678901')",
        "insert into funnelift.marts values ('b', null, null, null, null)",
        "insert into funnelift.marts values ('c', 0.0001, 1e-300, 'it''s; drop table x; -- \"😀\" \\\\N', null)",
        "create view funnelift.shown as select id, money from funnelift.marts",
        "create table funnelift.empty_mart (id integer)",
    )


def everything(shop: AnyShop, results: Path) -> dict[str, Any]:
    """Every cell of every table and view, their shapes, and every file."""
    found: dict[str, Any] = {"columns": shop.rows(COLUMNS)}
    for schema, table in sorted({(schema, table) for schema, table, *_ in found["columns"]}):
        rows = shop.rows(f"select * from {schema}.{table}")
        found[f"{schema}.{table}"] = sorted(rows, key=repr)
    for file in sorted(results.rglob("*")) if results.exists() else []:
        if file.is_file():
            found[str(file.relative_to(results))] = hashlib.sha256(file.read_bytes()).hexdigest()
    if shop.server is not None:
        found["shapes"] = shop.rows(SHAPES)
        found["databases"] = shop.rows("show databases")
    return found


def spoil(shop: AnyShop, results: Path) -> None:
    """What happens between a backup and the wish to have it back."""
    assert shop.load(shop.write("b.csv", EVENTS_HEADER + "1437926001434,z,view,9,\n")).code == 0
    shop.execute(
        "drop view funnelift.shown",
        "delete from funnelift.marts where id = 'a'",
        "alter table funnelift.empty_mart add column more integer",
        "create table funnelift.later (id integer)",
        "create view funnelift.later_shown as select id from funnelift.later",
    )
    (results / "models" / "run" / "champion.bin").write_bytes(b"another")
    (results / "later.txt").write_text("later")


def test_everything_comes_back_cell_by_cell(shop: AnyShop, results: Path, tmp_path: Path) -> None:
    fill(shop)
    before = everything(shop, results)
    made = run(shop, "backup", "--out", str(tmp_path / "saved"))
    assert made.code == 0, made.output
    assert everything(shop, results) == before
    spoil(shop, results)
    assert everything(shop, results) != before
    refused = run(shop, "restore", str(tmp_path / "saved"))
    assert refused.code == 1
    assert "--replace" in refused.output
    done = run(shop, "restore", str(tmp_path / "saved"), "--replace")
    assert done.code == 0, done.output
    assert everything(shop, results) == before
    # And it goes on from there.
    assert "already loaded" in shop.load(shop.shop.raw / "a.csv").output
    assert shop.load(shop.shop.raw / "b.csv").code == 0
    assert shop.rows("select max(load_number) from funnelift_raw.raw_loads") == [(2,)]


def test_everything_comes_back_where_nothing_is_left(shop: AnyShop, results: Path, tmp_path: Path) -> None:
    fill(shop)
    before = everything(shop, results)
    assert run(shop, "backup", "--out", str(tmp_path / "saved")).code == 0
    results.rename(tmp_path / "gone")
    if shop.server is None:
        shop.shop.warehouse.unlink()
    else:
        shop.server.drop_databases()
    done = run(shop, "restore", str(tmp_path / "saved"))
    assert done.code == 0, done.output
    assert everything(shop, results) == before


def test_what_is_no_whole_backup_is_refused_and_nothing_changes(shop: AnyShop, results: Path, tmp_path: Path) -> None:
    fill(shop)
    saved = tmp_path / "saved"
    assert run(shop, "backup", "--out", str(saved)).code == 0
    spoil(shop, results)
    before = everything(shop, results)

    def refused() -> str:
        outcome = run(shop, "restore", str(saved), "--replace")
        assert outcome.code == 1
        assert everything(shop, results) == before
        return outcome.output

    [first, *_] = sorted((saved / "warehouse").iterdir())
    content = first.read_bytes()
    first.write_bytes(content[:-1])
    assert f"{first} is missing or not what the backup wrote" in refused()
    first.write_bytes(content)
    manifest = saved / "backup.json"
    text = manifest.read_text()
    manifest.write_text(text.replace(f'"target": "{shop.target}"', '"target": "other"'))
    assert "a backup of other" in refused()
    manifest.write_text("{}")
    assert "is no backup" in refused()
    manifest.unlink()
    assert "is no backup" in refused()


def test_a_folder_that_is_there_or_a_warehouse_that_is_not_is_refused(shop: AnyShop, tmp_path: Path) -> None:
    nothing = run(shop, "backup", "--out", str(tmp_path / "saved"))
    assert nothing.code == 1
    assert "nothing to back up" in nothing.output
    assert not list(tmp_path.glob("*saved*"))
    fill(shop)
    (tmp_path / "saved").mkdir()
    taken = run(shop, "backup", "--out", str(tmp_path / "saved"))
    assert taken.code == 1
    assert "is there already" in taken.output


KILLED = (
    "import os, pathlib, signal, sys\n"
    "from ops import backup\n"
    "import warehouse.duckdb, warehouse.mysql_client.backup\n"
    "def dying(*arguments, **options): os.kill(os.getpid(), signal.SIGKILL)\n"
    "{patch}  # a name that is no more must fail here, not be made anew\n"
    "{patch} = dying\n"
    "backup.{command}(pathlib.Path(sys.argv[1]){options})\n"
)


def killed(shop: AnyShop, patch: str, command: str, folder: Path, options: str = "") -> None:
    script = KILLED.format(patch=patch, command=command, options=options)
    done = subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    if shop.server is not None:
        session = shop.server.session()
        with session.lock(LOAD_LOCK, 60, "funnelift_raw"), session.lock(LOCK, 60, "funnelift"):
            pass
        session.close()


def test_a_killed_backup_is_none_and_the_next_is_whole(shop: AnyShop, results: Path, tmp_path: Path) -> None:
    fill(shop)
    before = everything(shop, results)
    killed(shop, "backup.sha256_of", "back_up", tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    assert everything(shop, results) == before
    assert run(shop, "backup", "--out", str(tmp_path / "saved")).code == 0
    assert [file.name for file in tmp_path.glob("*saved*")] == ["saved"]


@pytest.mark.parametrize("moment", ["before the tables are swapped", "before the results are"])
def test_a_killed_restore_leaves_old_or_new_and_the_next_finishes(
    shop: AnyShop, results: Path, tmp_path: Path, moment: str
) -> None:
    fill(shop)
    wanted = everything(shop, results)
    assert run(shop, "backup", "--out", str(tmp_path / "saved")).code == 0
    spoil(shop, results)
    before = everything(shop, results)
    swap = "warehouse.duckdb.Path.replace" if shop.server is None else "warehouse.mysql_client.backup._swap"
    patch = swap if moment == "before the tables are swapped" else "backup._restore_results"
    killed(shop, patch, "restore", tmp_path / "saved", ", replace=True")
    found = everything(shop, results)
    expected = before if moment == "before the tables are swapped" else wanted
    for table in (name for name in expected if name.startswith("funnelift.") or name == "funnelift_raw.raw_events"):
        assert found[table] == expected[table]
    assert run(shop, "restore", str(tmp_path / "saved"), "--replace").code == 0
    assert everything(shop, results) == wanted
    assert not list(tmp_path.glob("*restoring*"))


@pytest.mark.parametrize("shop", ENGINES[:1], indirect=True)
def test_a_warehouse_that_cannot_be_opened_makes_way(tmp_path: Path, shop: AnyShop, results: Path) -> None:
    fill(shop)
    before = everything(shop, results)
    assert run(shop, "backup", "--out", str(tmp_path / "saved")).code == 0
    shop.shop.warehouse.write_bytes(b"broken" * 1000)
    log = Path(f"{shop.shop.warehouse}.wal")
    log.write_bytes(b"of another warehouse")
    assert run(shop, "restore", str(tmp_path / "saved"), "--replace").code == 0
    assert not log.exists()
    assert everything(shop, results) == before


@pytest.mark.parametrize("shop", ENGINES[:1], indirect=True)
def test_a_warehouse_in_use_is_left_alone(tmp_path: Path, shop: AnyShop, results: Path) -> None:
    fill(shop)
    assert run(shop, "backup", "--out", str(tmp_path / "saved")).code == 0
    holder = "import duckdb, sys\nc = duckdb.connect(sys.argv[1])\nprint('open', flush=True)\nsys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(shop.shop.warehouse)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    for words in (("backup", "--out", str(tmp_path / "more")), ("restore", str(tmp_path / "saved"), "--replace")):
        outcome = run(shop, *words)
        assert outcome.code == 1
        assert "is in use by another program" in outcome.output
    process.communicate("")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["raw", "results", "saved", "warehouse.duckdb"]


@pytest.mark.parametrize("shop", ENGINES[1:], indirect=True)
def test_no_password_is_in_a_command_a_file_or_a_message(
    shop: AnyShop, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shop)
    password = f"{token_urlsafe(16)}-aA1"
    user = "funnelift_test_backup"
    shop.execute(
        f"drop user if exists {user}",
        f"create user {user} identified by '{password}'",
        f"grant all on *.* to {user}",
    )
    monkeypatch.setenv("FUNNELIFT_MYSQL_USER", user)
    monkeypatch.setenv("FUNNELIFT_MYSQL_PASSWORD", password)
    commands: list[list[str]] = []
    original = subprocess.Popen

    def noting(command: list[str], **options: Any) -> Any:
        commands.append(command)
        return original(command, **options)

    monkeypatch.setattr(dump.subprocess, "Popen", noting)
    try:
        outputs = [run(shop, "backup", "--out", str(tmp_path / "saved"))]
        outputs.append(run(shop, "restore", str(tmp_path / "saved"), "--replace"))
        assert [output.code for output in outputs] == [0, 0], outputs
        monkeypatch.setattr(dump, "DUMP_OPTIONS", ("--no-such-option",))
        outputs.append(run(shop, "backup", "--out", str(tmp_path / "more")))
        assert "failed (exit code" in outputs[-1].output
    finally:
        shop.execute(f"drop user {user}")
    assert len(commands) > 4
    assert password not in str(commands) + str(outputs)
    for file in (tmp_path / "saved").rglob("*"):
        assert file.is_dir() or password.encode() not in file.read_bytes()


@pytest.mark.parametrize("shop", ENGINES[1:], indirect=True)
def test_a_build_at_work_or_interrupted_is_said_so(shop: AnyShop, tmp_path: Path) -> None:
    fill(shop)
    shop.execute(
        "create table funnelift.build_plan as select 'b2' as build_id",
        "create table funnelift.last_build as select 'b1' as build_id",
    )
    outcome = run(shop, "backup", "--out", str(tmp_path / "saved"))
    assert outcome.code == 1
    assert "a `dbt build` is at work or was interrupted" in outcome.output
    shop.execute("update funnelift.last_build set build_id = 'b2'")
    assert run(shop, "backup", "--out", str(tmp_path / "saved")).code == 0
