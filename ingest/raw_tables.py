"""The raw tables: what a load writes, and how it records itself."""

import datetime as dt
from dataclasses import asdict, dataclass, fields

import pyarrow as pa

from ingest.limits import EVENT_CHARACTERS, FILE_CHARACTERS, ID_CHARACTERS, PROPERTY_CHARACTERS
from warehouse.base import RawTables
from warehouse.contract import Column

ID, FILE, WORD = f"varchar({ID_CHARACTERS})", f"varchar({FILE_CHARACTERS})", "varchar(64)"
_LOAD_ID = Column("load_id", WORD)
RAW_TABLES: dict[str, tuple[Column, ...]] = {
    "raw_events": (
        Column("timestamp", "bigint"),
        Column("visitorid", ID),
        Column("event", f"varchar({EVENT_CHARACTERS})"),
        Column("itemid", ID),
        Column("transactionid", ID, is_nullable=True),
        Column("price", "decimal(18, 4)", is_nullable=True),
        Column("categoryid", ID, is_nullable=True),
        _LOAD_ID,
    ),
    "raw_item_properties": (
        Column("timestamp", "bigint"),
        Column("itemid", ID),
        Column("property", f"varchar({PROPERTY_CHARACTERS})"),
        Column("value", "text", is_nullable=True),
        _LOAD_ID,
    ),
    "raw_category_tree": (Column("categoryid", ID), Column("parentid", ID, is_nullable=True), _LOAD_ID),
    "raw_treatment_assignments": (
        Column("visitorid", ID),
        Column("assigned_at", "bigint"),
        Column("treatment", "bigint"),
        _LOAD_ID,
    ),
    # In the order of LoadRow.
    "raw_loads": (
        _LOAD_ID,
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
        _LOAD_ID,
        Column("file", FILE),
        Column("line", "bigint"),
        Column("reason", WORD),
        Column("raw_text", "text"),
    ),
}


@dataclass(frozen=True)
class LoadRow:
    """One row of raw_loads: one file's load; `loaded_at` is UTC, to the millisecond."""

    load_id: str
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
    return [LoadRow(**row | {"is_synthetic": bool(row["is_synthetic"])}) for row in rows]


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
    types = {"loaded_at": pa.timestamp("ms"), "mapping_sha256": pa.string()}
    raw.append("raw_loads", pa.table({name: pa.array([value], types.get(name)) for name, value in values.items()}))
