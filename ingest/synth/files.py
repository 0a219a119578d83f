"""The files of a synthetic shop, in RetailRocket's layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ingest.synth import calibration as facts
from ingest.synth.catalogue import Catalogue
from ingest.synth.draws import Draws
from ingest.synth.visitors import DAY_MS, HOUR_MS, WEEK_MS, Events, Shop

GENERATOR_VERSION = "1"
MARKER = "synthetic.json"
EVENTS, TREE = "events.csv", "category_tree.csv"
PROPERTIES = ("item_properties_part1.csv", "item_properties_part2.csv")
FILES = (MARKER, EVENTS, *PROPERTIES, TREE)
LEAST_VISITORS = 100
_PARTIAL = ".partial"
_KINDS = pa.array(["view", "addtocart", "transaction"])
_HASHED = ("888", "364", "159", "839", "283")


class SynthError(Exception):
    """A setting or a folder that cannot be used; the message says which and what to do."""


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
    try:
        with Progress(*columns, console=Console(stderr=True), disable=not show_progress) as progress:
            task = progress.add_task("", total=5)

            def step(description: str) -> None:
                progress.update(task, advance=1, description=f"Synthetic shop: {description}")

            marker = _write_all(out, visitors, seed, step)
        # The marker goes first: a run that dies between two renames must not leave data that look real.
        for name in FILES:
            (out / (name + _PARTIAL)).replace(out / name)
    finally:
        for name in FILES:
            (out / (name + _PARTIAL)).unlink(missing_ok=True)
    return marker


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
    step("catalogue")
    shop = Shop(visitors, seed)
    step("visitors")
    events = _as_filed(Events.concatenate(list(shop.blocks())), Draws(seed, 3))
    step("events")
    _write(out / EVENTS, _events_table(events, shop.catalogue))
    step("item properties")
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
    step("done")
    return marker


def _as_filed(events: Events, draws: Draws) -> Events:
    """Put events in file order: days mostly in order, shuffled within, some rows days late, a few rows twice."""
    size = len(events)
    late = draws.happens(facts.LATE_SHARE, size) * draws.integers(facts.LATE_DAYS * DAY_MS, size)
    arrival = events.timestamp + draws.integers(facts.FILE_DELAY_HOURS * HOUR_MS, size) + late
    rows = np.repeat(np.argsort(arrival, kind="stable"), 1 + draws.happens(facts.EXACT_DUPLICATE_SHARE, size))
    events = events.take(rows)
    # Order numbers in the original do not follow time.
    sold = events.order >= 0
    events.order[sold] = draws.order(int(events.order.max()) + 1)[events.order[sold]]
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
    weeks = np.arange(facts.SNAPSHOTS)
    listed = shop.item_has_properties[:, None] & (weeks >= shop.item_listed_week[:, None])
    first = shop.item_has_properties[:, None] & (weeks == shop.item_listed_week[:, None])
    item, week = np.nonzero(first)
    price_at, stock_at = (
        np.nonzero(first | listed & (np.diff(values, axis=1, prepend=values[:, :1]) != 0))
        for values in (shop.item_price, shop.item_available.astype(np.int8))
    )
    moved = np.flatnonzero(draws.happens(facts.CATEGORY_CHANGES, len(item)))
    moved_week = np.minimum(week[moved] + 1 + draws.integers(8, len(moved)), facts.SNAPSHOTS - 1)
    moved_to = shop.item_category[draws.integers(len(shop.item_id), len(moved))]
    hashed = draws.integers(len(_HASHED), len(item))
    word, number = _text(draws.integers(1_300_000, len(item))), _text(12 * draws.integers(2_000, len(item)))
    measured = pc.binary_join_element_wise("n", number, ".000 ", word, "")
    parts = [
        (*price_at, "790", pc.binary_join_element_wise("n", _text(shop.item_price[price_at]), ".000", "")),
        (*stock_at, "available", _text(shop.item_available[stock_at].astype(np.int8))),
        (item, week, "categoryid", _text(shop.category_id[shop.item_category[item]])),
        (item[moved], moved_week, "categoryid", _text(shop.category_id[moved_to])),
        (item, week, pa.array(_HASHED).take(hashed), pc.if_else(hashed % 2 == 0, measured, word)),
    ]
    names = [pa.repeat(name, len(rows)) if isinstance(name, str) else name for rows, _, name, _ in parts]
    at = np.concatenate([week for _, week, _, _ in parts])
    table = pa.table(
        {
            "timestamp": facts.FIRST_SNAPSHOT_MS + at * WEEK_MS,
            "itemid": shop.item_id[np.concatenate([rows for rows, _, _, _ in parts])],
            "property": pa.concat_arrays(names),
            "value": pa.concat_arrays([value for _, _, _, value in parts]),
        }
    )
    return table.take(draws.order(len(table)))


def _tree_table(shop: Catalogue, draws: Draws) -> pa.Table:
    order = draws.order(len(shop.category_id))
    parent = shop.category_parent[order]
    return pa.table({"categoryid": shop.category_id[order], "parentid": pa.array(parent, mask=parent < 0)})


def _text(numbers: Any) -> Any:
    return pa.array(numbers).cast(pa.string())


def _write(path: Path, table: pa.Table) -> None:
    # pyarrow quotes every name of a header line it writes; the original's has no quotes.
    with (path.parent / (path.name + _PARTIAL)).open("wb") as file:
        file.write((",".join(table.column_names) + "\n").encode())
        pacsv.write_csv(table, file, pacsv.WriteOptions(include_header=False, quoting_style="none"))
