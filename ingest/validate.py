"""Records to rows: every record is accepted, rejected with a reason, or ignored because the mapping says so."""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ingest.alike import has_bare_numbers, shape
from ingest.cells import Cells
from ingest.contract import CATEGORY_TREE, EVENTS, ITEM_PROPERTIES, TREATMENT_ASSIGNMENTS, Layout, rule_names
from ingest.field_path import column_of, field_path
from ingest.limits import ID_CHARACTERS, PROPERTY_CHARACTERS, VALUE_BYTES
from ingest.mapping import ALIKE_MARKS, CANONICAL_EVENTS, IGNORE, LONGEST_OFFER, Cell, Condition, Mapping, cell_names
from ingest.reader import Block
from ingest.siblings import SIBLINGS, tell_apart
from ingest.source import Source, is_typed_time, nested_columns
from ingest.straight_cells import FIELDS as _FIELDS_OF_STRAIGHT
from ingest.straight_cells import NOT_STRAIGHT, NotStraightError, StraightCells
from warehouse.errors import FunneliftError

RAW_TEXT_CHARACTERS = 2000
# No shop had a website before: seconds read as milliseconds (1970) and zeros end here.
OLDEST_MS = 631_152_000_000
DAY_MS = 86_400_000

_IGNORED = "ignored"
_DETAILS = ("source_event", "currency")
_ISO = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?"
_ISO_UTC = _ISO + r"( ?UTC|Z)"
_ISO_OFFSET = _ISO + r"[+-](0\d|1[0-5])(:?[0-5]\d)?"

# Each gives line, structure and the fields, of JSON lines as a list: `structure` is the reject reason of a record that
# has no proper fields.
_FIELDS_OF_CSV = """
    SELECT line{columns},
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
    SELECT line, f, raw,
        CASE
            WHEN problem IS NOT NULL THEN problem
            WHEN NOT is_object AND trim(raw) = '' THEN 'empty_line'
            WHEN NOT is_object THEN if(line = $unterminated, 'truncated_line', 'bad_json')
            WHEN contains(raw, '\\u0000') THEN 'nul_byte'
            WHEN NOT $others_allowed AND NOT list_has_all($known::VARCHAR[], json_keys(raw)) THEN 'unknown_key'
        END AS structure
    FROM (
        SELECT *, f IS NOT NULL AND starts_with(ltrim(raw, E' \\t\\r'), '{') AS is_object
        FROM (SELECT *, TRY(json_extract_string(raw, $pointers::VARCHAR[])) AS f FROM block)
    )
"""
_FIELDS_OF_SPLIT = "SELECT line, NULL::VARCHAR AS structure{columns} FROM block"

_TIMES = {
    # Only a plain whole number reads back as it was written; 1.5e12, 007 and 12.7 do not.
    "epoch_ms": "CASE WHEN try_cast(t AS BIGINT)::VARCHAR = t THEN try_cast(t AS BIGINT) END",
    "epoch_us": "CASE WHEN try_cast(t AS BIGINT)::VARCHAR = t THEN try_cast(t AS BIGINT) // 1000 END",
    "epoch_ns": "CASE WHEN try_cast(t AS BIGINT)::VARCHAR = t THEN try_cast(t AS BIGINT) // 1000000 END",
    "epoch_s": r"""CASE WHEN regexp_full_match(t, '-?\d+(\.\d+)?')
        THEN try_cast(floor(try_cast(t AS DECIMAL(20, 6)) * 1000) AS BIGINT) END""",
    # Only 00:00:00UTC needs the rtrim.
    "iso_utc": "epoch_ms(coalesce(try_cast(t AS TIMESTAMP), try_cast(rtrim(t, ' UTCZ') AS TIMESTAMP)))",
    # A cast to TIMESTAMPTZ costs three times as much, so only the offsets take it.
    "iso": """CASE WHEN regexp_full_match(t, $iso_utc)
            THEN epoch_ms(coalesce(try_cast(t AS TIMESTAMP), try_cast(rtrim(t, ' UTCZ') AS TIMESTAMP)))
        WHEN regexp_full_match(t, $iso_offset) THEN epoch_ms(try_cast(t AS TIMESTAMPTZ))
    END""",
    "pattern": "epoch_ms(try_strptime(t, $time_format))",
}
# Local times, where the zone has to be told by the mapping.
_LOCAL_TIMES = {
    "iso": "CASE WHEN regexp_full_match(t, $iso) THEN try_cast(t AS TIMESTAMP) END",
    "pattern": "try_strptime(t, $time_format)::TIMESTAMP",
}
# A time on which clocks are put back exists twice, one that they skip never. The offsets of a day before and a day
# after then differ; each of them may be right.
_IN_ZONE = """
    WITH named AS (SELECT *, {local} AS local_time FROM cells),
    placed AS (
        SELECT *, epoch_ms(local_time) AS wall,
            CASE WHEN local_time IS NOT NULL THEN epoch_ms(timezone($time_zone, local_time - INTERVAL 1 DAY)) END
                + 86400000 AS before_ms,
            CASE WHEN local_time IS NOT NULL THEN epoch_ms(timezone($time_zone, local_time + INTERVAL 1 DAY)) END
                - 86400000 AS after_ms
        FROM named
    )
    SELECT * EXCLUDE (local_time, wall, before_ms, after_ms),
        CASE WHEN local_time IS NULL THEN {time}
            WHEN before_ms = after_ms THEN before_ms
            WHEN is_before AND NOT is_after THEN before_ms
            WHEN is_after AND NOT is_before THEN after_ms
            ELSE {choice} END AS ms,
        before_ms <> after_ms AND is_before AND is_after AS is_twice,
        before_ms <> after_ms AND NOT is_before AND NOT is_after AS is_never
    FROM (
        SELECT *,
            {before} AS is_before,
            {after} AS is_after
        FROM placed
    )
"""
_HOLDS = "{ms} IS NULL OR before_ms = after_ms OR epoch_ms(timezone($time_zone, make_timestamptz({ms} * 1000))) = wall"
_CLOCK_CHOICES = {"reject": "before_ms", "before": "before_ms", "after": "after_ms"}
_WITH_ELAPSED = "CASE WHEN elapsed_ms = '' THEN ms ELSE TRY(ms + try_cast(elapsed_ms AS BIGINT)) END"
_TIME_REASONS = """
            {clock_reasons}
            WHEN ms IS NULL THEN 'bad_timestamp'
            WHEN ms < 0 THEN 'negative_timestamp'
            WHEN ms < $oldest THEN 'too_old_timestamp'
            WHEN ms > $newest THEN 'future_timestamp'
"""

# Elsewhere it is none of thousands: 12.99 among 1.012,50 is another country's. India parts by two digits, too.
_GROUPED = r"[+-]?\d{{1,3}}([{marks}]\d{{2,3}})*[{marks}]\d{{3}}([{decimal}]\d*)?([eE][+-]?\d+)?"
_NUMBER = r"'\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?'"
_DECIMAL = "try_cast({text} AS DECIMAL(18, 4))"
# A cast also takes 1_000 and 1e2., which no other reader does.
_CHECKED_DECIMAL = f"CASE WHEN regexp_full_match({{text}}, {_NUMBER}) THEN {_DECIMAL} END"
_BELOW_ZERO = "({cell}_text LIKE '-%' AND try_cast({cell}_text AS DOUBLE) < 0)"
_AND_NO_ORDER = "AND NOT (event = 'refund' AND transactionid <> '')"
_EVENTS = """
    WITH split AS ({fields}),
    cells AS (
        SELECT line, structure, {timestamp} AS t, {visitorid} AS visitorid, {event} AS source_event, {itemid} AS itemid,
            {transactionid} AS transactionid, {price} AS price_text, {categoryid} AS categoryid,
            {event_id} AS event_id, {quantity} AS quantity_text, {currency} AS currency,
            {elapsed_ms} AS elapsed_ms{rule_cells}{siblings}
        FROM split
    ),
    timed AS ({timed}),
    typed AS (
        SELECT *, {target} AS {kind},{or_refund}
            {price_read} AS price_as_written,
            {quantity_read} AS quantity,
            {price_value} AS price
        FROM timed
    )
    SELECT line, ms AS timestamp, visitorid, event, itemid,
        CASE WHEN event IN ('transaction', 'refund') THEN nullif(transactionid, '') END AS transactionid,
        price, nullif(categoryid, '') AS categoryid,
        nullif(event_id, '') AS event_id, CASE WHEN event_id <> '' THEN line END AS line_number,
        quantity{details}{keep_siblings},
        CASE
            WHEN structure IS NOT NULL THEN structure
            {ignored_by_rule}
            WHEN event IS NULL AND ($ignore_others OR list_contains($ignored::VARCHAR[], source_event)) THEN $ignore
            {time_reasons}
            WHEN event IS NULL THEN 'unknown_event'
            {refund_refused}
            WHEN visitorid = '' {and_no_order} THEN 'empty_visitor'
            WHEN itemid = '' {and_needs_item} {and_no_order} THEN 'empty_item'
            WHEN greatest({length}(visitorid), {length}(itemid), {length}(categoryid), {length}(event_id))
                    > {id_characters}
                OR (event IN ('transaction', 'refund') AND {length}(transactionid) > {id_characters}) THEN 'id_too_long'
            WHEN $has_order_ids AND event = 'transaction' AND transactionid = '' THEN 'missing_transaction_id'
            WHEN price_as_written IS NULL AND price_text <> '' THEN 'bad_price'
            {bad_quantity}
            {other_currency}
            WHEN price IS NULL AND price_text <> '' THEN 'bad_price'
        END AS reason
    FROM typed
"""
_ITEM_PROPERTIES = """
    WITH split AS ({fields}),
    cells AS (
        SELECT line, structure, {timestamp} AS t, {itemid} AS itemid, {property} AS property,
            {value} AS value
        FROM split
    ),
    typed AS ({timed})
    SELECT line, ms AS timestamp, itemid, property, nullif(value, '') AS value,
        CASE
            WHEN structure IS NOT NULL THEN structure
            {time_reasons}
            WHEN itemid = '' THEN 'empty_item'
            WHEN property = '' THEN 'empty_property'
            WHEN {length}(itemid) > {id_characters} THEN 'id_too_long'
            WHEN {length}(property) > {property_characters} THEN 'property_too_long'
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
            WHEN greatest({length}(categoryid), {length}(parentid)) > {id_characters} THEN 'id_too_long'
        END AS reason
    FROM cells
"""
_TREATMENT_ASSIGNMENTS = """
    WITH split AS ({fields}),
    cells AS (
        SELECT line, structure, {visitorid} AS visitorid, {assigned_at} AS t, lower({treatment}) AS arm,
            {stratum} AS stratum, {propensity} AS chance, {offer} AS named
        FROM split
    ),
    timed AS ({timed}),
    typed AS (
        SELECT *,
            list_position(list_transform($arms, lambda name: lower(name)), arm) AS place,
            list_extract($treatments, place) AS treatment,
            coalesce(nullif(named, ''), list_extract($offers::VARCHAR[], place)) AS offer
        FROM timed
    )
    SELECT line, visitorid, ms AS assigned_at, treatment, CASE WHEN treatment = 1 THEN offer END AS offer,
        nullif(stratum, '') AS stratum,
        CASE WHEN regexp_full_match(chance, {number}) THEN try_cast(chance AS DOUBLE) END AS propensity,
        CASE
            WHEN structure IS NOT NULL THEN structure
            WHEN list_contains(list_transform($ignored::VARCHAR[], lambda name: lower(name)), arm) THEN $ignore
            {time_reasons}
            WHEN treatment IS NULL THEN 'unknown_treatment'
            WHEN visitorid = '' THEN 'empty_visitor'
            WHEN greatest({length}(visitorid), {length}(stratum)) > {id_characters} THEN 'id_too_long'
            WHEN {length}(named) > {offer_characters} THEN 'id_too_long'
            WHEN chance <> '' AND NOT coalesce(propensity > 0 AND propensity < 1, false) THEN 'bad_propensity'
        END AS reason
    FROM typed
"""
_LIMITS = {
    "id_characters": ID_CHARACTERS,
    "offer_characters": LONGEST_OFFER,
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
    EVENTS: (
        "timestamp",
        "visitorid",
        "event",
        "itemid",
        "transactionid",
        "price",
        "categoryid",
        "event_id",
        "quantity",
        "currency",
        "elapsed_ms",
    ),
    ITEM_PROPERTIES: ("timestamp", "itemid", "property"),
    CATEGORY_TREE: ("categoryid", "parentid"),
    TREATMENT_ASSIGNMENTS: ("visitorid", "assigned_at", "treatment", "stratum", "propensity", "offer"),
}


@dataclass(frozen=True)
class Checked:
    """What became of a block: rows for the raw table, rejects (line, reason, raw_text), and how many were ignored.

    `extra_count` says how many more records there are than lines, where lists were opened. `details`, where they were
    asked for, has of each record of events what it is, what its source calls it, and the currency of its price.
    """

    accepted: pa.Table
    rejects: pa.Table
    ignored_count: int
    extra_count: int = 0
    details: pa.Table | None = None


def join(parts: list[Checked]) -> Checked:
    """Join what became of consecutive blocks of a file.

    Parameters
    ----------
    parts : list of Checked
        At least one.

    Returns
    -------
    Checked
        All of it.
    """
    details = [part.details for part in parts if part.details is not None]
    return Checked(
        pa.concat_tables([part.accepted for part in parts]),
        pa.concat_tables([part.rejects for part in parts]),
        sum(part.ignored_count for part in parts),
        sum(part.extra_count for part in parts),
        pa.concat_tables(details) if details else None,
    )


class Validator:
    """Checks the blocks of one file in SQL, on an in-memory DuckDB whatever the target engine is."""

    def __init__(self, source: Source, layout: Layout, now_ms: int, *, has_details: bool = False) -> None:
        self._has_details = has_details and layout.kind is EVENTS
        self._source, self._layout, self._now_ms = source, layout, now_ms
        self._can_be_plain = source.format == "csv" and layout.names <= set(layout.header)
        self._statements: dict[_Look, _Statement] = {}
        # Whatever the blocks look like, this tells of a time zone that cannot apply.
        self._opens_lists = self._statement(_Look(is_split=source.format != "jsonl")).opens_lists
        self._can_be_straight = source.format == "jsonl" and self._is_straight()
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
        look = self._look(block)
        rows = self._run(self._statement(look), block.table, block)
        if look.is_straight:
            rows = self._read_again(rows, block)
        rows = tell_apart(rows)
        extra = rows.num_rows - pc.count_distinct(rows["line"]).as_py() if self._opens_lists else 0
        details = None
        if self._has_details:
            details = rows.select(["event", "reason", *_DETAILS])
            rows = rows.drop_columns(list(_DETAILS))
        if rows["reason"].null_count == rows.num_rows:
            return Checked(rows.drop_columns(["line", "reason"]), _rejects([], [], []), 0, extra, details)
        accepted = rows.filter(pc.is_null(rows["reason"])).drop_columns(["line", "reason"])
        refused = rows.select(["line", "reason"]).filter(pc.is_valid(rows["reason"])).sort_by("line")
        rejected = refused.filter(pc.not_equal(refused["reason"], _IGNORED))
        lines = rejected["line"].to_pylist()
        texts = [text[:RAW_TEXT_CHARACTERS] for text in block.raw_text(lines)]
        rejects = _rejects(lines, rejected["reason"].to_pylist(), texts)
        return Checked(accepted, rejects, refused.num_rows - rejected.num_rows, extra, details)

    def _is_straight(self) -> bool:
        try:
            self._statement(_Look(is_split=False, is_straight=True))
        except NotStraightError:
            return False
        return True

    def _run(self, statement: "_Statement", table: pa.Table, block: Block) -> pa.Table:
        parameters = statement.parameters
        if not block.is_split:
            parameters = parameters | {"unterminated": block.unterminated_line}
        self._connection.register("block", table)
        try:
            return self._connection.execute(statement.query, parameters).to_arrow_table()
        except duckdb.Error as error:
            raise FunneliftError(f"{self._source.path}: its lines could not be checked: {error}") from error

    def _read_again(self, rows: pa.Table, block: Block) -> pa.Table:
        """Put in the place of what is not straight what the lines become that are read the other way."""
        lines = rows["line"].filter(pc.equal(rows["reason"], NOT_STRAIGHT))
        if not len(lines):
            return rows
        others = block.table.filter(pc.is_in(block.table["line"], lines))
        again = self._run(self._statement(_Look(block.is_split)), others, block)
        return pa.concat_tables([rows.filter(pc.invert(pc.is_in(rows["line"], lines))), again])

    def _look(self, block: Block) -> "_Look":
        if self._source.format == "jsonl":
            return _Look(is_split=False, is_straight=self._can_be_straight)
        if not (block.is_plain and self._can_be_plain):
            return _Look(block.is_split)
        words, cells = self._layout.words, self._layout.cells
        times = self._texts(block, cells.get("assigned_at", cells.get("timestamp")))
        has_iso_times = False
        if times and words.time_format == "iso" and not words.time_zone:
            has_iso_times = re.fullmatch(_ISO_UTC, shape(times[0]) or "") is not None
        numbers = self._texts(block, cells.get("price")) + self._texts(block, cells.get("quantity"))
        return _Look(True, True, has_iso_times, all(map(has_bare_numbers, numbers)))

    def _texts(self, block: Block, cell: Cell | None) -> list[pa.ChunkedArray]:
        """The column of a cell as a list, which is empty where the cell is read from none or several."""
        names = cell_names(cell)
        return [block.table[f"c{self._layout.header.index(names[0])}"]] if len(names) == 1 else []

    def _statement(self, look: "_Look") -> "_Statement":
        if look not in self._statements:
            self._statements[look] = _statement(self._source, self._layout, look, self._now_ms, self._has_details)
        return self._statements[look]


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


class _Look(NamedTuple):
    """What is known of all cells of a block, so that they need no check of their own."""

    is_split: bool
    is_plain: bool = False
    has_iso_times: bool = False
    has_bare_numbers: bool = False
    is_straight: bool = False


class _Statement(NamedTuple):
    """The query that checks a block, its parameters, and whether a record can become several."""

    query: str
    parameters: dict[str, Any]
    opens_lists: bool


def _statement(source: Source, layout: Layout, look: _Look, now_ms: int, has_details: bool) -> _Statement:
    kind = layout.kind
    mapping = layout.mapping if kind is EVENTS else None
    cells = (
        StraightCells(source, layout.header, mapping)
        if look.is_straight
        else Cells(source, layout.header, mapping, is_plain=look.is_plain)
    )
    parts = {cell: cells.cell(layout.cells.get(cell)) for cell in _CELLS[kind]}
    # Plain text is ASCII.
    parts["length"] = "strlen" if look.is_plain else "length"
    parameters: dict[str, Any] = {}
    if kind is ITEM_PROPERTIES:
        parts["value"] = cells.column("value")
    if kind is not CATEGORY_TREE:
        timed, time_parameters = _timed(source, layout, look.has_iso_times)
        if "elapsed_ms" in layout.cells:
            timed = f"SELECT * REPLACE ({_WITH_ELAPSED} AS ms) FROM ({timed})"
        parts |= {"timed": timed, "time_reasons": _TIME_REASONS.format(clock_reasons=_clock_reasons(layout, timed))}
        parameters |= time_parameters | {"oldest": OLDEST_MS, "newest": now_ms + DAY_MS}
    if mapping:
        parts |= _event(mapping, cells, parameters) | _money(mapping, parts, parameters)
        parts |= _refunds(mapping, cells.is_plain)
        decimal = _DECIMAL if look.has_bare_numbers else _CHECKED_DECIMAL
        parts |= {f"{cell}_read": decimal.format(text=parts[f"{cell}_number"]) for cell in ("price", "quantity")}
        parts["details"] = "".join(f", {name}" for name in _DETAILS) if has_details else ""
        siblings = cells.siblings(_depth(mapping)) if mapping.columns.transaction else None
        parts["siblings"] = f", {siblings} AS {SIBLINGS}" if siblings else ""
        parts["keep_siblings"] = f", {SIBLINGS}" if siblings else ""
        if cells.opens_lists:
            # Entries of one line have its id and their place.
            parts["event_id"] = f"coalesce(nullif({parts['event_id']}, '') || {cells.entry_place}, {parts['event_id']})"
        parameters |= {
            "ignored": mapping.ignore_events,
            "ignore_others": mapping.ignore_other_events,
            "ignore": _IGNORED,
            "has_order_ids": mapping.columns.transaction is not None,
        }
    if kind is TREATMENT_ASSIGNMENTS:
        parts["number"] = _NUMBER
        arms = layout.mapping.assignments.arms
        parameters |= {
            "arms": list(arms),
            "treatments": [int(arm != "control") for arm in arms.values()],
            "offers": layout.mapping.assignments.offers,
            "ignored": layout.mapping.assignments.ignore_arms,
            "ignore": _IGNORED,
        }
    records = cells.records("{fields}")
    fields, field_parameters = _fields(source, layout, cells, look.is_split)
    query = _QUERIES[kind].format(fields=records.format(fields=fields), **_LIMITS, **parts)
    return _Statement(query, parameters | field_parameters | cells.parameters, cells.opens_lists)


def _fields(source: Source, layout: Layout, cells: Cells, is_split: bool) -> tuple[str, dict[str, Any]]:
    """SQL of the fields of a block, and its parameters."""
    if source.format == "jsonl":
        words = layout.words
        is_straight = isinstance(cells, StraightCells)
        return _FIELDS_OF_STRAIGHT if is_straight else _FIELDS_OF_JSONL, {
            **({"structure": cells.structure} if isinstance(cells, StraightCells) else {"pointers": cells.pointers}),
            "known": sorted({*layout.header, *words.ignore_columns}),
            "others_allowed": words.ignore_other_columns,
        }
    if not is_split:
        whole = _FIELDS_OF_CSV.format(columns="".join(f", f[{place + 1}] AS c{place}" for place in cells.columns))
        return whole, {"width": len(layout.header), "delimiter": layout.dialect.delimiter}
    nested = nested_columns(source) if source.format == "parquet" else set()
    texts = (
        f", to_json(c{place})::VARCHAR AS c{place}" if place in nested else f", c{place}" for place in cells.columns
    )
    return _FIELDS_OF_SPLIT.format(columns="".join(texts)), {}


def _event(mapping: Mapping, cells: Cells, parameters: dict[str, Any]) -> dict[str, str]:
    """What an event is: by the first rule that holds, else by its name; '' where a rule says to ignore it."""
    places = {name: f"rule_{place}" for place, name in enumerate(rule_names(mapping))}
    target = "NULL::VARCHAR"
    if mapping.constant_event:
        parameters["constant_event"] = mapping.constant_event
        target = "$constant_event"
    elif mapping.events:
        parameters |= {"sources": list(mapping.events), "targets": list(mapping.events.values())}
        target = "$targets[list_position($sources, source_event)]"
    whens = []
    for place, rule in enumerate(mapping.event_rules):
        parameters[f"step_{place}"] = "" if rule.step == IGNORE else rule.step
        conditions: list[str] = []
        for name, wanted in rule.when.items():
            key = f"wanted_{place}_{len(conditions)}"
            if isinstance(wanted, Condition) and wanted.regex is None:
                conditions.append(f"{places[name]} {'=' if wanted.blank else '<>'} ''")
                continue
            if isinstance(wanted, Condition):
                parameters[key] = wanted.regex
                conditions.append(f"regexp_matches({places[name]}, ${key})")
            else:
                parameters[key] = [wanted] if isinstance(wanted, str) else wanted
                conditions.append(f"list_contains(${key}::VARCHAR[], {places[name]})")
        whens.append(f"WHEN {' AND '.join(conditions)} THEN $step_{place}")
    itemless = [step for step in mapping.extra_steps if step not in CANONICAL_EVENTS]
    if itemless:
        parameters["itemless"] = itemless
    return {
        "rule_cells": "".join(f", {cells.cell(name)} AS {place}" for name, place in places.items()),
        "target": f"CASE {' '.join(whens)} ELSE {target} END" if whens else target,
        "ignored_by_rule": "WHEN event = '' THEN $ignore" if whens else "",
        "and_needs_item": "AND NOT list_contains($itemless, event)" if itemless else "",
    }


def _depth(mapping: Mapping) -> int:
    """How many lists are opened where the time of an event is."""
    paths = [field_path(name) for name in cell_names(mapping.columns.timestamp)]
    return max((path.opened is not None) + (path.inner is not None) for path in paths)


def _money(mapping: Mapping, parts: dict[str, str], parameters: dict[str, Any]) -> dict[str, str]:
    found = {"other_currency": "", "price_value": "price_as_written", "bad_quantity": ""}
    if mapping.columns.quantity:
        found["bad_quantity"] = "WHEN quantity_text <> '' AND coalesce(quantity, 0) = 0 THEN 'bad_quantity'"
        found["bad_quantity"] += " WHEN price::DOUBLE * quantity::DOUBLE >= 1e14 THEN 'bad_quantity'"
    for cell in ("price", "quantity"):
        if mapping.thousands:
            marks = ALIKE_MARKS.get(mapping.thousands, mapping.thousands)
            parameters |= {"thousands": marks, "grouped": _GROUPED.format(marks=marks, decimal=mapping.decimal)}
            bare = f"translate({parts[cell]}, $thousands, '')"
            parts[cell] = f"CASE WHEN regexp_full_match({parts[cell]}, $grouped) THEN {bare} ELSE {parts[cell]} END"
        if mapping.decimal == ",":
            # With a decimal comma a point means nothing.
            parts[cell] = f"translate({parts[cell]}, ',.', '.,')"
        found[cell] = parts[cell]
    if mapping.price_is == "total":
        found["price_value"] = "try_cast(price_as_written / coalesce(quantity, 1) AS DECIMAL(18, 4))"
    if mapping.currency:
        rates = {mapping.currency: "1"} | mapping.exchange_rates
        parameters |= {"currencies": ["", *(name.upper() for name in rates)], "rates": ["1", *rates.values()]}
        rate = "$rates[list_position($currencies, upper(currency))]::DECIMAL(18, 9)"
        found["price_value"] = f"try_cast(({found['price_value']})::DECIMAL(28, 4) * {rate} AS DECIMAL(18, 4))"
        found["other_currency"] = (
            "WHEN price_text <> '' AND NOT list_contains($currencies, upper(currency)) THEN 'other_currency'"
        )
    return found


def _refunds(mapping: Mapping, is_plain: bool) -> dict[str, str]:
    """How lines are told that take a purchase back, and what becomes of them; their amounts count as above zero.

    Where cells are plain none is below zero, so a refund is what is called so.
    """
    found = {"kind": "event", "or_refund": "", "refund_refused": "", "and_no_order": ""}
    found |= {f"{cell}_number": f"{cell}_text" for cell in ("price", "quantity")}
    if not (mapping.has_refunds if is_plain else mapping.may_refund):
        return found
    named = [cell for cell in ("price", "quantity") if getattr(mapping.columns, cell) and not is_plain]
    below_zero = " OR ".join(_BELOW_ZERO.format(cell=cell) for cell in named)
    kind = f"CASE WHEN kind = 'transaction' AND ({below_zero}) THEN 'refund' ELSE kind END" if named else "kind"
    found |= {"kind": "kind", "or_refund": f" {kind} AS event,", "and_no_order": _AND_NO_ORDER}
    if mapping.refunds == "refuse":
        found["refund_refused"] = "WHEN event = 'refund' THEN 'refund'"
    unsigned = "CASE WHEN event = 'refund' THEN {cell}_text[if({cell}_text LIKE '-%', 2, 1):] ELSE {cell}_text END"
    return found | {f"{cell}_number": unsigned.format(cell=cell) for cell in named}


def _rejects(lines: list[int], reasons: list[str], texts: list[str]) -> pa.Table:
    schema = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("raw_text", pa.string())])
    return pa.table({"line": lines, "reason": reasons, "raw_text": texts}, schema=schema)


def _timed(source: Source, layout: Layout, has_iso_times: bool) -> tuple[str, dict[str, Any]]:
    """SQL for the cells with their time, and its parameters."""
    words = layout.words
    time_format, zone = words.time_format, words.time_zone
    names = cell_names(layout.cells["assigned_at" if layout.kind is TREATMENT_ASSIGNMENTS else "timestamp"])
    if len(names) == 1 and is_typed_time(source, layout.header.index(column_of(names[0], layout.header))):
        time_format, zone = "iso", zone or "UTC"
    kind = "iso_utc" if has_iso_times else "pattern" if "%" in time_format else time_format
    if zone and kind.startswith("epoch"):
        raise FunneliftError(
            f"{source.path}: time_zone cannot apply to time_format {time_format}, which counts from a moment in UTC; "
            "remove it, or say the time_format"
        )
    parameters: dict[str, Any] = {"time_format": time_format} if kind == "pattern" else {}
    parameters |= {"iso_utc": _ISO_UTC, "iso_offset": _ISO_OFFSET} if kind == "iso" else {}
    if not zone:
        return f"SELECT *, {_TIMES[kind]} AS ms FROM cells", parameters
    if zone.upper() in ("UTC", "ETC/UTC"):
        local = f"epoch_ms({_LOCAL_TIMES[kind]})"
        time = f"coalesce({_TIMES[kind]}, {local})" if kind == "iso" else local
        return f"SELECT *, {time} AS ms FROM cells", parameters | ({"iso": _ISO} if kind == "iso" else {})
    parameters |= {"time_zone": zone} | ({"iso": _ISO} if kind == "iso" else {})
    time = _TIMES[kind] if kind == "iso" else "NULL"
    choice = _CLOCK_CHOICES[getattr(words, "clock_change", "reject")]
    before, after = (_HOLDS.format(ms=ms) for ms in ("before_ms", "after_ms"))
    timed = _IN_ZONE.format(local=_LOCAL_TIMES[kind], time=time, choice=choice, before=before, after=after)
    return timed, parameters


def _clock_reasons(layout: Layout, timed: str) -> str:
    if "is_twice" not in timed or getattr(layout.words, "clock_change", "reject") != "reject":
        return ""
    return "WHEN is_twice THEN 'ambiguous_timestamp' WHEN is_never THEN 'nonexistent_timestamp'"
