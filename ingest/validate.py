"""Records to rows: every record is accepted, rejected with a reason, or ignored because the mapping says so."""

from dataclasses import dataclass
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ingest.contract import CATEGORY_TREE, EVENTS, ITEM_PROPERTIES, TREATMENT_ASSIGNMENTS, Layout
from ingest.limits import ID_CHARACTERS, PROPERTY_CHARACTERS, VALUE_BYTES
from ingest.mapping import has_zone
from ingest.reader import Block
from ingest.source import Source, is_typed_time
from warehouse.errors import FunneliftError

RAW_TEXT_CHARACTERS = 2000
# No shop had a website before: seconds read as milliseconds (1970) and zeros end here.
OLDEST_MS = 631_152_000_000
DAY_MS = 86_400_000

_IGNORED = "ignored"
_ISO = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?"
_ISO_UTC = _ISO + r"( ?UTC|Z)"
_ISO_OFFSET = _ISO + r"[+-]\d{2}(:?\d{2})?"

# Each gives (line, structure, f): `structure` is the reject reason of a record that has no proper fields, f its fields.
_FIELDS_OF_CSV = """
    SELECT line, f,
        CASE
            WHEN problem = 'bad_quoting' AND line = $unterminated THEN 'truncated_line'
            WHEN problem IS NOT NULL THEN problem
            WHEN raw = '' THEN 'empty_line'
            WHEN len(f) = $width THEN NULL
            WHEN line = $unterminated THEN 'truncated_line'
            ELSE 'wrong_field_count'
        END AS structure
    FROM (SELECT *, coalesce(fields, string_split(raw, $delimiter)) AS f FROM block)
"""
_FIELDS_OF_JSONL = """
    SELECT line, f,
        CASE
            WHEN problem IS NOT NULL THEN problem
            WHEN trim(raw) = '' THEN 'empty_line'
            WHEN NOT is_object THEN if(line = $unterminated, 'truncated_line', 'bad_json')
            WHEN contains(raw, '\\u0000') THEN 'nul_byte'
            WHEN NOT $others_allowed AND NOT list_has_all($known::VARCHAR[], json_keys(raw)) THEN 'unknown_key'
        END AS structure
    FROM (
        SELECT *, CASE WHEN is_object THEN json_extract_string(raw, $pointers::VARCHAR[]) END AS f
        FROM (
            SELECT *, coalesce(CASE WHEN json_valid(raw) THEN json_type(raw) = 'OBJECT' END, false) AS is_object
            FROM block
        )
    )
"""
_FIELDS_OF_PARQUET = "SELECT line, NULL::VARCHAR AS structure, [{columns}] AS f FROM block"

_TIMES = {
    # Only a plain whole number reads back as it was written; 1.5e12, 007 and 12.7 do not.
    "epoch_ms": "CASE WHEN try_cast(t AS BIGINT)::VARCHAR = t THEN try_cast(t AS BIGINT) END",
    "epoch_us": "CASE WHEN try_cast(t AS BIGINT)::VARCHAR = t THEN try_cast(t AS BIGINT) // 1000 END",
    "epoch_s": r"""CASE WHEN regexp_full_match(t, '-?\d+(\.\d+)?')
        THEN try_cast(floor(try_cast(t AS DECIMAL(20, 6)) * 1000) AS BIGINT) END""",
    # A cast to TIMESTAMPTZ costs three times as much, so only the offsets take it.
    "iso": """CASE WHEN regexp_full_match(t, $iso_utc) THEN epoch_ms(try_cast(rtrim(t, ' UTCZ') AS TIMESTAMP))
        WHEN regexp_full_match(t, $iso_offset) THEN epoch_ms(try_cast(t AS TIMESTAMPTZ))
        WHEN $time_zone IS NOT NULL AND regexp_full_match(t, $iso)
        THEN epoch_ms(timezone($time_zone, try_cast(t AS TIMESTAMP))) END""",
    "pattern": "epoch_ms(try_strptime(t, $time_format))",
    "pattern in zone": "epoch_ms(timezone($time_zone, try_strptime(t, $time_format)))",
}
_TIME_REASONS = """
            WHEN ms IS NULL THEN 'bad_timestamp'
            WHEN ms < 0 THEN 'negative_timestamp'
            WHEN ms < $oldest THEN 'too_old_timestamp'
            WHEN ms > $newest THEN 'future_timestamp'
"""

_EVENTS = """
    WITH split AS ({fields}),
    cells AS (
        SELECT line, structure, {timestamp} AS t, {visitorid} AS visitorid, {event} AS source_event, {itemid} AS itemid,
            {transactionid} AS transactionid, {price} AS price_text, {categoryid} AS categoryid,
            {event_id} AS event_id
        FROM split
    ),
    typed AS (
        SELECT *, {time} AS ms, $targets[list_position($sources, source_event)] AS event,
            CASE WHEN regexp_full_match(price_text, '\\+?(\\d+\\.?\\d*|\\.\\d+)([eE][+-]?\\d+)?')
                THEN try_cast(price_text AS DECIMAL(18, 4)) END AS price
        FROM cells
    )
    SELECT line, ms AS timestamp, visitorid, event, itemid,
        CASE WHEN event = 'transaction' THEN nullif(transactionid, '') END AS transactionid,
        price, nullif(categoryid, '') AS categoryid,
        nullif(event_id, '') AS event_id, CASE WHEN event_id <> '' THEN line END AS line_number,
        CASE
            WHEN structure IS NOT NULL THEN structure
            WHEN event IS NULL AND ($ignore_others OR list_contains($ignored::VARCHAR[], source_event)) THEN $ignore
            {time_reasons}
            WHEN event IS NULL THEN 'unknown_event'
            WHEN visitorid = '' THEN 'empty_visitor'
            WHEN itemid = '' THEN 'empty_item'
            WHEN greatest(length(visitorid), length(itemid), length(categoryid), length(event_id)) > {id_characters}
                OR (event = 'transaction' AND length(transactionid) > {id_characters}) THEN 'id_too_long'
            WHEN $has_order_ids AND event = 'transaction' AND transactionid = '' THEN 'missing_transaction_id'
            WHEN price IS NULL AND price_text <> '' THEN 'bad_price'
        END AS reason
    FROM typed
"""
_ITEM_PROPERTIES = """
    WITH split AS ({fields}),
    cells AS (
        SELECT line, structure, {timestamp} AS t, {itemid} AS itemid, {property} AS property,
            f[{value_position}] AS value
        FROM split
    ),
    typed AS (SELECT *, {time} AS ms FROM cells)
    SELECT line, ms AS timestamp, itemid, property, nullif(value, '') AS value,
        CASE
            WHEN structure IS NOT NULL THEN structure
            {time_reasons}
            WHEN itemid = '' THEN 'empty_item'
            WHEN property = '' THEN 'empty_property'
            WHEN length(itemid) > {id_characters} THEN 'id_too_long'
            WHEN length(property) > {property_characters} THEN 'property_too_long'
            WHEN strlen(value) > {value_bytes} THEN 'value_too_long'
        END AS reason
    FROM typed
"""
_CATEGORY_TREE = """
    WITH split AS ({fields}),
    cells AS (SELECT line, structure, {categoryid} AS categoryid, {parentid} AS parentid FROM split)
    SELECT line, categoryid, nullif(parentid, '') AS parentid,
        CASE
            WHEN structure IS NOT NULL THEN structure
            WHEN categoryid = '' THEN 'empty_category'
            WHEN greatest(length(categoryid), length(parentid)) > {id_characters} THEN 'id_too_long'
        END AS reason
    FROM cells
"""
_TREATMENT_ASSIGNMENTS = """
    WITH split AS ({fields}),
    cells AS (
        SELECT line, structure, {visitorid} AS visitorid, {assigned_at} AS t, lower({treatment}) AS arm
        FROM split
    ),
    typed AS (
        SELECT *, {time} AS ms,
            $treatments[list_position(list_transform($arms, lambda name: lower(name)), arm)] AS treatment
        FROM cells
    )
    SELECT line, visitorid, ms AS assigned_at, treatment,
        CASE
            WHEN structure IS NOT NULL THEN structure
            WHEN list_contains(list_transform($ignored::VARCHAR[], lambda name: lower(name)), arm) THEN $ignore
            {time_reasons}
            WHEN treatment IS NULL THEN 'unknown_treatment'
            WHEN visitorid = '' THEN 'empty_visitor'
            WHEN length(visitorid) > {id_characters} THEN 'id_too_long'
        END AS reason
    FROM typed
"""
# Looking for what there could be to trim takes a third of the time that trimming every cell does.
_TRIMMED = "CASE WHEN contains({cell}, ' ') OR strlen({cell}) <> length({cell}) THEN trim({cell}) ELSE {cell} END"
_LIMITS = {
    "id_characters": ID_CHARACTERS,
    "property_characters": PROPERTY_CHARACTERS,
    "value_bytes": VALUE_BYTES,
}
_QUERIES = {
    EVENTS: _EVENTS,
    ITEM_PROPERTIES: _ITEM_PROPERTIES,
    CATEGORY_TREE: _CATEGORY_TREE,
    TREATMENT_ASSIGNMENTS: _TREATMENT_ASSIGNMENTS,
}
_CELLS = {
    EVENTS: ("timestamp", "visitorid", "event", "itemid", "transactionid", "price", "categoryid", "event_id"),
    ITEM_PROPERTIES: ("timestamp", "itemid", "property"),
    CATEGORY_TREE: ("categoryid", "parentid"),
    TREATMENT_ASSIGNMENTS: ("visitorid", "assigned_at", "treatment"),
}


@dataclass(frozen=True)
class Checked:
    """What became of a block: rows for the raw table, rejects (line, reason, raw_text), and how many were ignored."""

    accepted: pa.Table
    rejects: pa.Table
    ignored_count: int

    @property
    def line_count(self) -> int:
        """Records that went in."""
        return int(self.accepted.num_rows + self.rejects.num_rows + self.ignored_count)


class Validator:
    """Checks the blocks of one file in SQL, on an in-memory DuckDB whatever the target engine is."""

    def __init__(self, source: Source, layout: Layout, now_ms: int) -> None:
        self._query, self._parameters = _statement(source, layout, now_ms)
        self._path = source.path
        self._by_line = source.format != "parquet"
        self._connection = duckdb.connect()
        self._connection.execute("SET enable_progress_bar = false")
        self._connection.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def check(self, block: Block) -> Checked:
        """Check one block.

        Parameters
        ----------
        block : Block
            Records of the file this validator was made for.

        Returns
        -------
        Checked
            Every record of the block, in one of three places.

        Raises
        ------
        FunneliftError
            The checks need more memory than there is, or fail otherwise.
        """
        parameters = self._parameters | ({"unterminated": block.unterminated_line} if self._by_line else {})
        self._connection.register("block", block.table)
        try:
            rows = self._connection.execute(self._query, parameters).to_arrow_table()
        except duckdb.Error as error:
            raise FunneliftError(f"{self._path}: its lines could not be checked: {error}") from error
        if rows["reason"].null_count == rows.num_rows:
            return Checked(rows.drop_columns(["line", "reason"]), _rejects([], [], []), 0)
        accepted = rows.filter(pc.is_null(rows["reason"])).drop_columns(["line", "reason"])
        refused = rows.select(["line", "reason"]).filter(pc.is_valid(rows["reason"])).sort_by("line")
        rejected = refused.filter(pc.not_equal(refused["reason"], _IGNORED))
        lines = rejected["line"].to_pylist()
        texts = [text[:RAW_TEXT_CHARACTERS] for text in block.raw_text(lines)]
        return Checked(
            accepted, _rejects(lines, rejected["reason"].to_pylist(), texts), refused.num_rows - rejected.num_rows
        )


def category_paths(category_ids: set[str], separator: str) -> pa.Table:
    """Read the category tree out of category names that are paths.

    Parameters
    ----------
    category_ids : set of str
        Categories such as `electronics.audio.headphone`.
    separator : str
        One character between the levels.

    Returns
    -------
    pyarrow.Table
        `categoryid` and `parentid` of every category and every level above it; a first level has no parent.
    """
    parents: dict[str, str | None] = {}
    for category in sorted(category_ids):
        current: str | None = category
        while current and current not in parents:
            parents[current] = current.rpartition(separator)[0] or None
            current = parents[current]
    columns = {"categoryid": list(parents), "parentid": list(parents.values())}
    return pa.table(columns, schema=pa.schema([("categoryid", pa.string()), ("parentid", pa.string())]))


def _statement(source: Source, layout: Layout, now_ms: int) -> tuple[str, dict[str, Any]]:
    mapping, words, kind = layout.mapping, layout.words, layout.kind
    parameters: dict[str, Any] = {}
    if source.format == "csv":
        fields = _FIELDS_OF_CSV
        parameters |= {"width": len(layout.header), "delimiter": layout.delimiter}
    elif source.format == "jsonl":
        fields = _FIELDS_OF_JSONL
        parameters |= {
            "pointers": ["/" + name.replace("~", "~0").replace("/", "~1") for name in layout.header],
            "known": sorted({*layout.header, *words.ignore_columns}),
            "others_allowed": words.ignore_other_columns,
        }
    else:
        fields = _FIELDS_OF_PARQUET.format(columns=", ".join(f"c{index}" for index in range(len(layout.header))))
    cells = {cell: _cell(layout.positions.get(cell, ())) for cell in _CELLS[kind]}
    if kind is ITEM_PROPERTIES:
        cells["value_position"] = str(layout.positions["value"][0] + 1)
    time = ""
    if kind is not CATEGORY_TREE:
        time, time_parameters = _time(source, layout)
        parameters |= time_parameters | {"oldest": OLDEST_MS, "newest": now_ms + DAY_MS}
    if kind is EVENTS:
        parameters |= {
            "sources": list(mapping.events),
            "targets": list(mapping.events.values()),
            "ignored": mapping.ignore_events,
            "ignore_others": mapping.ignore_other_events,
            "ignore": _IGNORED,
            "has_order_ids": mapping.columns.transaction is not None,
        }
    if kind is TREATMENT_ASSIGNMENTS:
        arms = mapping.assignments.arms
        parameters |= {
            "arms": list(arms),
            "treatments": [int(arm == "treatment") for arm in arms.values()],
            "ignored": mapping.assignments.ignore_arms,
            "ignore": _IGNORED,
        }
    query = _QUERIES[kind].format(fields=fields, time=time, time_reasons=_TIME_REASONS, **_LIMITS, **cells)
    return query, parameters


def _cell(positions: tuple[int, ...]) -> str:
    """The first of some fields that is not blank, without the spaces around it; '' where there is none."""
    choices = [f"nullif({_TRIMMED.format(cell=f'f[{position + 1}]')}, '')" for position in positions]
    return f"coalesce({', '.join([*choices, chr(39) * 2])})"


def _rejects(lines: list[int], reasons: list[str], texts: list[str]) -> pa.Table:
    schema = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("raw_text", pa.string())])
    return pa.table({"line": lines, "reason": reasons, "raw_text": texts}, schema=schema)


def _time(source: Source, layout: Layout) -> tuple[str, dict[str, Any]]:
    time_format, zone = layout.words.time_format, layout.words.time_zone
    column = "assigned_at" if layout.kind is TREATMENT_ASSIGNMENTS else "timestamp"
    if is_typed_time(source, layout.positions[column][0]):
        time_format, zone = "iso", zone or "UTC"
    if time_format == "iso":
        return _TIMES["iso"], {"iso_utc": _ISO_UTC, "iso_offset": _ISO_OFFSET, "iso": _ISO, "time_zone": zone}
    if "%" not in time_format:
        return _TIMES[time_format], {}
    if has_zone(time_format):
        return _TIMES["pattern"], {"time_format": time_format}
    return _TIMES["pattern in zone"], {"time_format": time_format, "time_zone": zone}
