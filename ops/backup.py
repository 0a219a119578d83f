"""`python -m ops backup` and `python -m ops restore`: everything that cannot be had again, to a folder and back.

The folder holds the warehouse (raw tables, marts, predictions, what builds know of themselves) and the results folder
(models, report). After a restore `dbt build` and `python -m ml.score` find nothing to do.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from ingest.raw_tables import now
from ml.config import load_config
from ml.files import sha256_of
from warehouse.errors import FunneliftError
from warehouse.open import choose_engine

MANIFEST, WAREHOUSE, RESULTS = "backup.json", "warehouse", "results"
FORMAT = 1


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands to `python -m ops`.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The subcommands.
    """
    backup = commands.add_parser(
        "backup",
        help="write warehouse and results to a folder",
        description="Write the warehouse, as it is at one moment, and the results folder to a new folder. DuckDB: a "
        "copy of the file. MySQL and MariaDB: the server's own mysqldump or mariadb-dump, which must be on this "
        "machine.",
        epilog="Exit codes: 0 done; 1 refused, and there is no such folder; 2 wrong usage.",
    )
    backup.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the folder to make")
    backup.set_defaults(run=run_backup)
    restore = commands.add_parser(
        "restore",
        help="put a backup in the place of warehouse and results",
        description="Make the warehouse and the results folder what they were when `python -m ops backup` wrote the "
        "folder. Readers see all of the old tables or all of the restored ones.",
        epilog="Exit codes: 0 done; 1 refused, and the warehouse is as it was; 2 wrong usage.",
    )
    restore.add_argument("folder", type=Path, metavar="FOLDER", help="what `python -m ops backup` wrote")
    restore.add_argument("--replace", action="store_true", help="in the place of the warehouse that is there")
    restore.set_defaults(run=run_restore)
    for parser in (backup, restore):
        parser.add_argument("--target", help="warehouse (default: FUNNELIFT_TARGET, else duckdb)")


def run_backup(args: argparse.Namespace) -> int:
    """Back up and print; returns the exit code."""
    try:
        size = back_up(args.out, target=args.target)
    except (FunneliftError, OSError) as error:
        print(f"no backup was made: {error}")
        return error.exit_code if isinstance(error, FunneliftError) else 1
    print(f"{args.out}: {size / 1e6:,.1f} MB. To bring it back: python -m ops restore {args.out}")
    return 0


def run_restore(args: argparse.Namespace) -> int:
    """Restore and print; returns the exit code."""
    try:
        restore(args.folder, replace=args.replace, target=args.target)
    except (FunneliftError, OSError) as error:
        print(f"nothing was restored: {error}")
        return error.exit_code if isinstance(error, FunneliftError) else 1
    print(f"restored from {args.folder}")
    return 0


def back_up(folder: Path, *, target: str | None = None) -> int:
    """Write warehouse and results to a new folder, which is there whole or not at all.

    Parameters
    ----------
    folder : Path
        The folder to make.
    target : str or None
        Warehouse; None takes FUNNELIFT_TARGET, else DuckDB.

    Returns
    -------
    int
        Its size in bytes.

    Raises
    ------
    FunneliftError
        The folder is there already, there is no warehouse, or somebody writes to it.
    """
    settings, engine = choose_engine(target)
    if folder.exists():
        raise FunneliftError(f"--out {folder}: is there already; name a new folder")
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / WAREHOUSE).mkdir(parents=True)
    try:
        engine.back_up(settings, unfinished / WAREHOUSE)
        results = load_config().results
        if results.is_dir():
            # What begins with a dot is of a run that is not finished.
            shutil.copytree(results, unfinished / RESULTS, ignore=shutil.ignore_patterns(".*"))
        files = {str(file.relative_to(unfinished)): file for file in sorted(unfinished.rglob("*")) if file.is_file()}
        manifest = {
            "format": FORMAT,
            "target": settings.target,
            "made_at": f"{now().isoformat()}Z",
            "sha256": {name: sha256_of(file) for name, file in files.items()},
        }
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def restore(folder: Path, *, replace: bool = False, target: str | None = None) -> None:
    """Make warehouse and results what they were.

    Parameters
    ----------
    folder : Path
        What `back_up` wrote.
    replace : bool
        Whether what is there makes way.
    target : str or None
        Warehouse; None takes FUNNELIFT_TARGET, else DuckDB.

    Raises
    ------
    FunneliftError
        The folder is no whole backup of this engine, there is a warehouse already, or somebody has it.
    """
    settings, engine = choose_engine(target)
    manifest = _read_manifest(folder)
    if manifest["target"] != settings.target:
        raise FunneliftError(f"{folder} is a backup of {manifest['target']}, and the target is {settings.target}")
    for name, expected in manifest["sha256"].items():
        if not (folder / name).is_file() or sha256_of(folder / name) != expected:
            raise FunneliftError(f"{folder / name} is missing or not what the backup wrote: take another backup")
    _check_room(load_config().results, replace)
    engine.restore(settings, folder / WAREHOUSE, replace=replace)
    if (folder / RESULTS).is_dir():
        _restore_results(folder / RESULTS, load_config().results)


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise FunneliftError(f"{folder}: a backup of another version (format {manifest['format']})")
    except (OSError, ValueError, KeyError, TypeError):
        raise FunneliftError(f"{folder} is no backup: it holds no readable {MANIFEST}") from None
    return manifest


def _check_room(results: Path, replace: bool) -> None:
    if results.is_dir() and any(results.iterdir()) and not replace:
        raise FunneliftError(f"there are results in {results} already: --replace puts the backup's in their place")


def _restore_results(source: Path, results: Path) -> None:
    new, old = (results.with_name(f".{results.name}.{what}") for what in ("restoring", "replaced"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(source, new)
    if results.exists():
        results.rename(old)
    new.rename(results)
    shutil.rmtree(old, ignore_errors=True)
