"""The raw tables: what a load writes, and how it records itself."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import pyarrow as pa

from ingest.limits import EVENT_CHARACTERS, FILE_CHARACTERS, ID_CHARACTERS, PROPERTY_CHARACTERS
from warehouse.base import RawTables
from warehouse.contract import Column

ID, FILE, WORD = f"varchar({ID_CHARACTERS})", f"varchar({FILE_CHARACTERS})", "varchar(64)"
# load_id names the file by its content; load_number says in which order files were loaded, and is never given twice.
_LOAD = (Column("load_id", WORD), Column("load_number", "bigint"))
_EVENT = (
    Column("timestamp", "bigint"),
    Column("visitorid", ID),
    Column("event", f"varchar({EVENT_CHARACTERS})"),
    Column("itemid", ID),
    Column("transactionid", ID, is_nullable=True),
    Column("price", "decimal(18, 4)", is_nullable=True),
    Column("categoryid", ID, is_nullable=True),
    # Both set where the shop names its events: of those with one id the last one counts, in its file by its line.
    Column("event_id", ID, is_nullable=True),
    Column("line_number", "bigint", is_nullable=True),
    # How many; null is one.
    Column("quantity", "decimal(18, 4)", is_nullable=True),
)
RAW_TABLES: dict[str, tuple[Column, ...]] = {
    "raw_events": (*_EVENT, *_LOAD),
    # What `python -m ops retain` leaves of old raw_events: each event once, as the number of its first load.
    "raw_kept_events": (*_EVENT, Column("load_number", "bigint")),
    "raw_item_properties": (
        Column("timestamp", "bigint"),
        Column("itemid", ID),
        Column("property", f"varchar({PROPERTY_CHARACTERS})"),
        Column("value", "text", is_nullable=True),
        *_LOAD,
    ),
    "raw_category_tree": (Column("categoryid", ID), Column("parentid", ID, is_nullable=True), *_LOAD),
    "raw_treatment_assignments": (
        Column("visitorid", ID),
        Column("assigned_at", "bigint"),
        Column("treatment", "bigint"),
        # The stratum within which the visitor was drawn, and the chance of treatment that the visitor had.
        Column("stratum", ID, is_nullable=True),
        Column("propensity", "double", is_nullable=True),
        # Which of several offers the treated visitor got.
        Column("offer", ID, is_nullable=True),
        *_LOAD,
    ),
    # In the order of LoadRow.
    "raw_loads": (
        *_LOAD,
        Column("file", FILE),
        Column("content_sha256", WORD),
        Column("mapping_sha256", WORD, is_nullable=True),
        Column("raw_table", WORD),
        Column("bytes", "bigint"),
        Column("line_count", "bigint"),
        Column("accepted_count", "bigint"),
        Column("rejected_count", "bigint"),
        Column("ignored_count", "bigint"),
        Column("is_synthetic", "integer"),
        Column("loaded_at", "timestamp"),
    ),
    "raw_rejects": (
        *_LOAD,
        Column("file", FILE),
        Column("line", "bigint"),
        Column("reason", WORD),
        Column("raw_text", "text"),
    ),
    # Loads that were taken out again: their numbers stay taken. In the order of UnloadRow.
    "raw_unloads": (*_LOAD, Column("file", FILE), Column("raw_table", WORD), Column("unloaded_at", "timestamp")),
    # Rows of raw_events that `python -m ops retain` has dropped: so many of a load, from before a moment.
    "raw_retention": (
        *_LOAD,
        Column("before_ms", "bigint"),
        Column("dropped_count", "bigint"),
        Column("retained_at", "timestamp"),
    ),
}
# What Arrow cannot tell from a value that may be missing.
_TYPES = {"loaded_at": pa.timestamp("ms"), "unloaded_at": pa.timestamp("ms"), "mapping_sha256": pa.string()}


@dataclass(frozen=True)
class LoadRow:
    """One row of raw_loads: one file's load; `loaded_at` is UTC, to the millisecond."""

    load_id: str
    load_number: int
    file: str
    content_sha256: str
    mapping_sha256: str | None
    raw_table: str
    bytes: int
    line_count: int
    accepted_count: int
    rejected_count: int
    ignored_count: int
    is_synthetic: bool
    loaded_at: dt.datetime


@dataclass(frozen=True)
class UnloadRow:
    """One row of raw_unloads: a load that was withdrawn or replaced; `unloaded_at` is UTC, to the millisecond."""

    load_id: str
    load_number: int
    file: str
    raw_table: str
    unloaded_at: dt.datetime


def now() -> dt.datetime:
    """Return this moment as the raw tables hold it: UTC, to the millisecond."""
    moment = dt.datetime.now(dt.UTC)
    return moment.replace(tzinfo=None, microsecond=moment.microsecond // 1000 * 1000)


def read_loads(raw: RawTables) -> list[LoadRow]:
    """List what has been loaded.

    Parameters
    ----------
    raw : RawTables
        The raw tables of a load.

    Returns
    -------
    list of LoadRow
        One row per file.
    """
    names = [field.name for field in fields(LoadRow)]
    rows = (dict(zip(names, row, strict=True)) for row in raw.distinct("raw_loads", names))
    loads = [LoadRow(**row | {"is_synthetic": bool(row["is_synthetic"])}) for row in rows]
    return sorted(loads, key=lambda load: load.load_number)


def read_unloads(raw: RawTables) -> list[UnloadRow]:
    """List what has been taken out again.

    Parameters
    ----------
    raw : RawTables
        The raw tables of a load.

    Returns
    -------
    list of UnloadRow
        One row per withdrawal or replacement, in the order of the loads.
    """
    names = [field.name for field in fields(UnloadRow)]
    return [UnloadRow(*row) for row in sorted(raw.distinct("raw_unloads", names), key=lambda row: row[1])]


def next_load_number(raw: RawTables) -> int:
    """Find the number of the next load: one more than any load has ever had.

    Parameters
    ----------
    raw : RawTables
        The raw tables of a load.

    Returns
    -------
    int
        1 for the first load.
    """
    taken = [*raw.distinct("raw_loads", ["load_number"]), *raw.distinct("raw_unloads", ["load_number"])]
    return max((int(number) for (number,) in taken), default=0) + 1


def record_load(raw: RawTables, load: LoadRow) -> None:
    """Add a row to raw_loads.

    Parameters
    ----------
    raw : RawTables
        The raw tables of a load.
    load : LoadRow
        One file's load.
    """
    values = asdict(load) | {"is_synthetic": int(load.is_synthetic)}
    raw.append("raw_loads", pa.table({name: pa.array([value], _TYPES.get(name)) for name, value in values.items()}))


def record_unloads(raw: RawTables, unloads: Sequence[UnloadRow]) -> None:
    """Add rows to raw_unloads.

    Parameters
    ----------
    raw : RawTables
        The raw tables of a load.
    unloads : sequence of UnloadRow
        Loads that are there no more.
    """
    names = [field.name for field in fields(UnloadRow)]
    columns = {name: pa.array([getattr(row, name) for row in unloads], _TYPES.get(name)) for name in names}
    raw.append("raw_unloads", pa.table(columns))
