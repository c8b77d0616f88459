"""Times of a file as moments: what the file says is taken at its word, and what it does not say must be given."""

from datetime import UTC
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from trading.bars import Column
from trading.errors import ConfigurationError
from trading.feeds.bar_table import BarTable

_ZONE_AT_END = r"(Z|z|UTC|[+-]\d{2}:?\d{2}|:\d{2}[+-]\d{2})$"
_SLASHED = r"^(?P<first>\d{1,2})/(?P<second>\d{1,2})/\d{4}"
_EPOCH_UNITS = ((1e11, 1_000_000, 1), (1e14, 1_000, 1), (1e17, 1, 1), (1e20, 1, 1_000))
"""Seconds, milli-, micro- and nanoseconds from 1973 to 5138: the bound of each, and how it becomes microseconds."""


def opens_as_microseconds(table: BarTable, timezone: str | None) -> Column:
    """The times of all rows in microseconds since the epoch.

    ``timezone`` is used only where the file says none. Raises ``ConfigurationError`` for times that are missing, that
    cannot be read, that have no zone, or that the change of the clocks makes ambiguous or skips.
    """
    zone = _zone(timezone)
    if table.column("date") is not None and table.column("time") is not None:
        date, time = _text(table, "date"), _text(table, "time")
        return _from_texts(table, pc.binary_join_element_wise(date, _clock_times(time), " "), zone)
    name = next(name for name in ("timestamp", "time", "date", "index") if table.column(name) is not None)
    values = table.column(name)
    assert values is not None
    _refuse_nulls(table, name, values)
    kind = values.type
    if pa.types.is_timestamp(kind):
        times = pd.DatetimeIndex(values.cast(pa.timestamp("us"), safe=False).to_numpy())
        return _microseconds(times) if kind.tz is not None else _localised(table, times, zone)
    if pa.types.is_date(kind):
        return _localised(table, pd.DatetimeIndex(values.cast(pa.timestamp("us")).to_numpy()), zone)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _from_epoch(table, values)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _from_texts(table, values, zone)
    raise ConfigurationError(
        f"{table.path}: the column {table.header(name)} holds {kind}, which is no moment. Write date and time, for "
        f"example 2011-01-18T14:30:00Z."
    )


def _zone(timezone: str | None) -> ZoneInfo | None:
    if timezone is None:
        return None
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"There is no time zone {timezone!r}. Pass --tz (feed.timezone) as a name such as America/New_York or UTC."
        ) from error


def _refuse_nulls(table: BarTable, name: str, values: pa.ChunkedArray) -> None:
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py()
        raise ConfigurationError(
            f"{table.path}: row {row + 1} has no time in the column {table.header(name)}. Mend that row, or remove it."
        )


def _text(table: BarTable, name: str) -> pa.ChunkedArray:
    values = table.column(name)
    assert values is not None
    _refuse_nulls(table, name, values)
    return pc.utf8_trim_whitespace(values.cast(pa.string()))


def _clock_times(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """930, 0930 and 093000 as they are usually meant; everything else as it stands."""
    digits = pc.replace_substring_regex(times, r"^(\d{3}|\d{5})$", r"0\1")
    digits = pc.replace_substring_regex(digits, r"^(\d{2})(\d{2})$", r"\1:\2")
    return pc.replace_substring_regex(digits, r"^(\d{2})(\d{2})(\d{2})$", r"\1:\2:\3")


def _from_epoch(table: BarTable, values: pa.ChunkedArray) -> Column:
    numbers = values.to_numpy()
    if not bool(np.all(np.isfinite(numbers))):
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise ConfigurationError(f"{table.path}: row {row + 1} has no time. Mend that row, or remove it.")
    largest, least = float(np.max(numbers)), float(np.min(numbers))
    # A count of rows, or a date such as 20110118, is smaller than any moment since 1973 in seconds.
    if least < 100_000_000:
        raise ConfigurationError(
            f"{table.path}: {numbers[np.argmin(numbers)]} is no moment. Write seconds "
            f"(or milli-, micro- or nanoseconds) since 1970, or text such as 2011-01-18T14:30:00Z."
        )
    for bound, multiply, divide in _EPOCH_UNITS:
        if bound / 1000 <= least and largest < bound:
            return np.asarray(
                numbers.astype(np.int64) // divide if divide > 1 else np.rint(numbers * multiply), dtype=np.int64
            )
    raise ConfigurationError(
        f"{table.path}: the column of times mixes units, from {least:.0f} to {largest:.0f}. Write all times "
        f"in one unit."
    )


def _from_texts(table: BarTable, texts: pa.ChunkedArray, zone: ZoneInfo | None) -> Column:
    texts = pc.utf8_trim_whitespace(texts)
    if pc.all(pc.match_substring_regex(texts, r"^\d{9,19}$")).as_py():
        return _from_epoch(table, texts.cast(pa.int64()))
    with_zone = pc.match_substring_regex(texts, _ZONE_AT_END)
    aware = pc.sum(with_zone).as_py()
    if aware not in (0, table.rows):
        row = pc.index(with_zone, False).as_py()
        raise ConfigurationError(
            f"{table.path}: some times say their zone and some do not, such as {texts[row].as_py()!r} in row {row + 1}. "
            f"Write all of them in one way."
        )
    times = pd.to_datetime(_iso_dates(table, texts).to_pandas(), format="ISO8601", utc=True, errors="coerce")
    lost = np.flatnonzero(times.isna())
    if len(lost):
        row = int(lost[0])
        raise ConfigurationError(
            f"{table.path}: {texts[row].as_py()!r} in row {row + 1} is no moment. Write times such as "
            f"2011-01-18T14:30:00Z or 2011-01-18 09:30."
        )
    moments = pd.DatetimeIndex(times)
    # Without a zone they were read as if they were UTC, which is taken back here.
    return _microseconds(moments) if aware else _localised(table, moments.tz_localize(None), zone)


def _iso_dates(table: BarTable, texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates with slashes as ISO writes them, where the file itself shows which number is the month."""
    if not pc.all(pc.match_substring_regex(texts, _SLASHED)).as_py():
        return texts
    parts = pc.extract_regex(texts, _SLASHED)
    first, second = (pc.max(pc.struct_field(parts, name).cast(pa.int64())).as_py() for name in ("first", "second"))
    if first <= 12 and second <= 12:
        raise ConfigurationError(
            f"{table.path}: {texts[0].as_py()!r} can be read month first and day first, and no date in the file says "
            f"which. Write dates as 2011-01-18."
        )
    padded = pc.replace_substring_regex(texts, r"\b(\d)/", r"0\1/")
    order = r"\3-\1-\2" if first <= 12 else r"\3-\2-\1"
    return pc.replace_substring_regex(padded, r"^(\d{2})/(\d{2})/(\d{4})", order)


def _localised(table: BarTable, times: pd.DatetimeIndex, zone: ZoneInfo | None) -> Column:
    if zone is None:
        raise ConfigurationError(
            f"{table.path} has times without a time zone, such as {times[0]}. Pass --tz (feed.timezone) with the zone "
            f"they are in, for example --tz America/New_York."
        )
    utc = times.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").tz_convert(UTC)
    lost = np.flatnonzero(utc.isna())
    if len(lost):
        row = int(lost[0])
        raise ConfigurationError(
            f"{table.path}: {times[row]} in row {row + 1} is ambiguous or does not exist in {zone.key}, where the clocks "
            f"change. Write the times with their offset, or in UTC."
        )
    return _microseconds(utc)


def _microseconds(times: pd.DatetimeIndex) -> Column:
    return np.asarray(times.as_unit("us").asi8, dtype=np.int64)
