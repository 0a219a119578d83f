"""Synthetic shop in RetailRocket's file layout: `python -m ingest synth --out DIR --visitors N --seed S`."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ingest import synth_calibration as facts
from ingest.synth_catalogue import Catalogue
from ingest.synth_draws import Draws, Ints
from ingest.synth_visitors import DAY_MS, HOUR_MS, WEEK_MS, Events, Shop

GENERATOR_VERSION = "1"
MARKER = "synthetic.json"
EVENTS, TREE = "events.csv", "category_tree.csv"
PROPERTIES = ("item_properties_part1.csv", "item_properties_part2.csv")
FILES = (EVENTS, *PROPERTIES, TREE, MARKER)
LEAST_VISITORS = 100
_PARTIAL = ".partial"
_KINDS = pa.array(["view", "addtocart", "transaction"])
_HASHED = ("888", "364", "159", "839", "283")


class SynthError(Exception):
    """A setting or a folder that cannot be used; the message says which and what to do."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the `synth` command.

    Parameters
    ----------
    commands : argparse sub-parsers
        Where to add it.
    """
    parser = commands.add_parser(
        "synth",
        help="write a synthetic shop in RetailRocket's file layout",
        description="Write synthetic events, item properties and a category tree, calibrated to published RetailRocket "
        "figures (docs/synthetic.md). Equal visitors and seed give byte-identical files.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; empty, new or an earlier output")
    parser.add_argument("--visitors", type=int, required=True, help=f"number of visitors, at least {LEAST_VISITORS}")
    parser.add_argument("--seed", type=int, default=42, help="0 or more (default 42)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the `synth` command.

    Parameters
    ----------
    args : argparse.Namespace
        `out`, `visitors` and `seed`.

    Returns
    -------
    int
        Exit code: 0 written, 2 refused.
    """
    try:
        counts = synthesise(args.out, args.visitors, args.seed)
    except SynthError as error:
        print(f"synth: {error}", file=sys.stderr)
        return 2
    print(
        f"Wrote SYNTHETIC data to {args.out}: {counts['events']:,} events of {counts['visitors']:,} visitors, "
        f"{counts['item_properties']:,} item property rows, {counts['categories']:,} categories "
        f"(seed {counts['seed']}).",
        file=sys.stderr,
    )
    return 0


def synthesise(out: Path, visitors: int, seed: int, show_progress: bool = True) -> dict[str, Any]:
    """Write a synthetic shop.

    Parameters
    ----------
    out : Path
        Folder: new, empty, or the output of an earlier run, which is replaced.
    visitors : int
        Number of visitors, at least 100.
    seed : int
        0 or more; equal visitors and seed give byte-identical files.
    show_progress : bool
        Whether to show progress on stderr.

    Returns
    -------
    dict
        The content of the marker file `synthetic.json`.

    Raises
    ------
    SynthError
        If a number is out of range or the folder holds anything else.
    """
    _check(out, visitors, seed)
    out.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not show_progress) as progress:
        task = progress.add_task("synthetic catalogue", total=5)

        def step(description: str) -> None:
            progress.update(task, advance=1, description=description)

        counts = _write_all(out, visitors, seed, step)
    return counts


def _check(out: Path, visitors: int, seed: int) -> None:
    if visitors < LEAST_VISITORS:
        raise SynthError(f"--visitors is {visitors}; give at least {LEAST_VISITORS}.")
    if seed < 0:
        raise SynthError(f"--seed is {seed}; give 0 or more.")
    if out.exists() and not out.is_dir():
        raise SynthError(f"--out {out} is a file; give a folder.")
    found = sorted(p.name for p in out.iterdir()) if out.is_dir() else []
    partial = {name + _PARTIAL for name in FILES}
    ours = partial | set(FILES) if MARKER in found else partial
    foreign = [name for name in found if name not in ours]
    if foreign:
        raise SynthError(
            f"--out {out} holds {foreign[0]!r}, which synth did not write; give an empty or a new folder "
            f"(an earlier output, recognised by its {MARKER}, is replaced)."
        )


def _write_all(out: Path, visitors: int, seed: int, step: Callable[[str], None]) -> dict[str, Any]:
    shop = Shop(visitors, seed)
    step("synthetic visitors")
    events = Events.concatenate(list(shop.blocks()))
    step("synthetic file order")
    events = _as_filed(events, Draws(seed, 3))
    step("synthetic events file")
    _write(out / EVENTS, _events_table(events, shop.catalogue))
    step("synthetic property files")
    properties = _properties_table(shop.catalogue, Draws(seed, 4))
    cut = round(len(properties) * facts.PROPERTY_PART1_SHARE)
    _write(out / PROPERTIES[0], properties.slice(0, cut))
    _write(out / PROPERTIES[1], properties.slice(cut))
    _write(out / TREE, _tree_table(shop.catalogue, Draws(seed, 5)))
    marker: dict[str, Any] = {
        "synthetic": True,
        "generator": "funnelift ingest synth",
        "generator_version": GENERATOR_VERSION,
        "visitors": visitors,
        "seed": seed,
        "events": len(events),
        "item_properties": len(properties),
        "categories": len(shop.catalogue.category_id),
    }
    (out / (MARKER + _PARTIAL)).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    # The marker goes first: a run that dies between two renames must not leave data that looks real.
    for name in (MARKER, EVENTS, *PROPERTIES, TREE):
        (out / (name + _PARTIAL)).replace(out / name)
    step("synthetic data written")
    return marker


def _as_filed(events: Events, draws: Draws) -> Events:
    """Put events in file order: days mostly in order, shuffled within, some rows days late, a few rows twice."""
    size = len(events)
    late = draws.happens(facts.LATE_SHARE, size)
    delay = draws.integers(facts.FILE_DELAY_HOURS * HOUR_MS, size) + late * draws.integers(
        facts.LATE_DAYS * DAY_MS, size
    )
    rows = np.argsort(events.timestamp + delay, kind="stable")
    rows = np.repeat(rows, 1 + draws.happens(facts.EXACT_DUPLICATE_SHARE, size))
    # Order numbers in the original do not follow time.
    orders = int(events.order.max()) + 1
    renumbered = draws.order(orders)
    events = events.take(rows)
    events.order = np.where(events.order >= 0, renumbered[events.order], -1).astype(np.int32)
    return events


def _events_table(events: Events, shop: Catalogue) -> pa.Table:
    order = pa.array(events.order, mask=events.order < 0)
    return pa.table(
        {
            "timestamp": events.timestamp,
            "visitorid": events.visitor,
            "event": pa.DictionaryArray.from_arrays(pa.array(events.kind), _KINDS).cast(pa.string()),
            "itemid": shop.item_id[events.item],
            "transactionid": order,
        }
    )


def _properties_table(shop: Catalogue, draws: Draws) -> pa.Table:
    """Rows where a weekly snapshot differs from the one before: price, stock, category, one hashed property."""
    count = len(shop.item_id)
    weeks = np.arange(facts.SNAPSHOTS)
    listed = shop.item_has_properties[:, None] & (weeks >= shop.item_listed_week[:, None])
    first = shop.item_has_properties[:, None] & (weeks == shop.item_listed_week[:, None])

    def changed(values: Any) -> tuple[Ints, Ints]:
        differs = np.zeros(values.shape, dtype=bool)
        differs[:, 1:] = values[:, 1:] != values[:, :-1]
        rows, week = np.nonzero((listed & differs) | first)
        return rows, week

    price_item, price_week = changed(shop.item_price)
    stock_item, stock_week = changed(shop.item_available)
    item, week = np.nonzero(first)
    # A few items move to another category later.
    moved = draws.uniform(len(item)) < 0.02
    moved_item = item[moved]
    moved_week = np.minimum(week[moved] + 1 + draws.below(np.full(len(moved_item), 8)), facts.SNAPSHOTS - 1)
    new_category = shop.item_category[draws.below(np.full(len(moved_item), count))]
    hashed = draws.below(np.full(len(item), len(_HASHED)))
    word = draws.below(np.full(len(item), 1_300_000))
    number = 12 * draws.below(np.full(len(item), 2_000))
    text = pc.if_else(
        pa.array(hashed % 2 == 0),
        pc.binary_join_element_wise(_text(number, "n", ".000"), _text(word), " "),
        _text(word),
    )
    parts = [
        (price_item, price_week, "790", _text(shop.item_price[price_item, price_week], "n", ".000")),
        (stock_item, stock_week, "available", _text(shop.item_available[stock_item, stock_week].astype(np.int64))),
        (item, week, "categoryid", _text(shop.category_id[shop.item_category[item]])),
        (moved_item, moved_week, "categoryid", _text(shop.category_id[new_category])),
        (item, week, hashed, text),
    ]
    rows = np.concatenate([p[0] for p in parts])
    at = np.concatenate([p[1] for p in parts])
    names = [
        pa.array(_HASHED).take(pa.array(name)) if isinstance(name, np.ndarray) else pa.repeat(pa.scalar(name), len(r))
        for r, _, name, _ in parts
    ]
    table = pa.table(
        {
            "timestamp": facts.FIRST_SNAPSHOT_MS + at * WEEK_MS,
            "itemid": shop.item_id[rows],
            "property": pa.concat_arrays(names),
            "value": pa.concat_arrays([p[3] for p in parts]),
        }
    )
    return table.take(pa.array(draws.order(len(rows))))


def _tree_table(shop: Catalogue, draws: Draws) -> pa.Table:
    order = draws.order(len(shop.category_id))
    parent = shop.category_parent[order]
    return pa.table({"categoryid": shop.category_id[order], "parentid": pa.array(parent, mask=parent < 0)})


def _text(numbers: Any, before: str = "", after: str = "") -> Any:
    text = pa.array(numbers).cast(pa.string())
    return pc.binary_join_element_wise(before, text, after, "") if before or after else text


def _write(path: Path, table: pa.Table) -> None:
    # pyarrow quotes every name of a header line it writes; the original's has no quotes.
    with (path.parent / (path.name + _PARTIAL)).open("wb") as file:
        file.write((",".join(table.column_names) + "\n").encode())
        pacsv.write_csv(table, file, pacsv.WriteOptions(include_header=False, quoting_style="none"))
