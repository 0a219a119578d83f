"""Times: in which format a column writes them."""

import re
from dataclasses import dataclass

import duckdb

from ingest.guess.sample import Column

_TEXTS_LOOKED_AT = 300
_DAY = 86_400
# Seconds from 1990 to 2100.
_SECONDS = (631_152_000, 4_102_444_800)
_UNITS = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000, "epoch_ns": 1_000_000_000}
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?(?P<zone> ?UTC|Z|[+-]\d{2}(:?\d{2})?)?")
_DAYS = ("%Y-%m-%d", "%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%Y%m%d", "%d-%m-%Y")
_US_DAY = "%m/%d/%Y"
_CLOCKS = ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%H:%M:%S.%f")
_WITH_ZONES = ("%a, %d %b %Y %H:%M:%S %z", "%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%d %H:%M:%S %z", "%Y/%m/%d %H:%M:%S %z")
_PATTERNS = (
    "%Y%m%d%H%M%S",
    *(f"{day}{between}{clock}" for day in _DAYS for between in " T" for clock in _CLOCKS),
    *_WITH_ZONES,
    *_DAYS,
)


@dataclass(frozen=True)
class TimeFormat:
    """How times are written; `alternative` is another pattern that they fit too."""

    name: str
    has_zone: bool
    alternative: str = ""

    @property
    def is_day(self) -> bool:
        """Whether the time of the day is missing."""
        return self.name in _DAYS

    def beside(self, clock: str) -> "TimeFormat":
        """Return the other pattern first where it has the month first and `clock` has AM and PM, as in the US."""
        if "%p" in clock and self.alternative.startswith(_US_DAY):
            return TimeFormat(self.alternative, self.has_zone, self.name)
        return self

    @property
    def is_number(self) -> bool:
        """Whether it counts from 1970."""
        return self.name in _UNITS


def time_format(column: Column) -> TimeFormat | None:
    """Tell how a column writes times.

    Parameters
    ----------
    column : Column
        The column.

    Returns
    -------
    TimeFormat or None
        None where its texts are no times.
    """
    texts = list(dict.fromkeys(column.texts))[:_TEXTS_LOOKED_AT]
    if not texts:
        return None
    if column.is_time:
        return TimeFormat("typed", has_zone=True)
    if all(re.fullmatch(r"\d+(\.\d+)?", text) and len(text) < 25 for text in texts):
        for name, unit in _UNITS.items():
            low, high = (bound * unit for bound in _SECONDS)
            is_whole = name == "epoch_s" or not any("." in text for text in texts)
            if is_whole and all(low <= float(text) < high for text in texts):
                return TimeFormat(name, has_zone=True)
    if matches := [match for text in texts if (match := _ISO.fullmatch(text))]:
        if len(matches) == len(texts):
            return TimeFormat("iso", has_zone=all(match["zone"] for match in matches))
        return None
    fitting = _fitting(texts, _PATTERNS)
    if not fitting:
        return None
    found = TimeFormat(fitting[0], fitting[0] in _WITH_ZONES, "".join(fitting[1:2]))
    return found.beside(fitting[0])


def clock_format(column: Column) -> str | None:
    """Tell how a column writes the time of a day; None where it does not."""
    texts = list(dict.fromkeys(column.texts))[:_TEXTS_LOOKED_AT]
    return next(iter(_fitting(texts, _CLOCKS)), None) if texts else None


def _fitting(texts: list[str], patterns: tuple[str, ...]) -> list[str]:
    """The patterns that all texts fit; a day of the month that is above 12 says which of two it is."""
    if not all(any(character.isdigit() for character in text) and len(text) < 40 for text in texts):
        return []
    with duckdb.connect() as connection:
        fits = "SELECT count(*) FROM unnest($texts) AS t(text) WHERE try_strptime(text, $pattern) IS NULL"
        return [
            pattern
            for pattern in patterns
            if not connection.execute(fits, {"texts": texts, "pattern": pattern}).fetchall()[0][0]
        ]
