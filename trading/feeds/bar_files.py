"""Files of bars, CSV or Parquet, as raw columns.

What a file says of its bars is read strictly: a time without a zone, a text where a price belongs or daily bars given
for minutes are refused with the value and the remedy (``ConfigurationError``), because a bar put at a wrong moment is
traded on without anybody noticing. Whether the prices make sense is not judged here.
"""

import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trading.bars import BarColumns, Column, Timeframe, from_epoch_us, to_epoch_us
from trading.errors import ConfigurationError
from trading.feeds.bar_numbers import prices_as_micros, volumes_as_shares
from trading.feeds.bar_table import BarTable, read_table
from trading.feeds.bar_times import opens_as_microseconds
from trading.settings import TimestampMeaning

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,11}")
_MINUTE_US = 60_000_000
_DAILY_US = 20 * 60 * _MINUTE_US
"""Bars that are never closer than this are one per day, also where the clocks change."""
_SPACINGS_THAT_TELL = 6
"""Fewer spacings than this may all be wider than the timeframe by chance: a symbol that trades rarely."""


def read_bars(
    path: Path,
    timeframe: Timeframe,
    symbol: str | None = None,
    timezone: str | None = None,
    timestamp: TimestampMeaning = TimestampMeaning.OPEN,
) -> dict[str, BarColumns]:
    """The raw bars of a file by symbol, in the file's order, duplicates included.

    A symbol whose bars run newest first throughout is turned round. ``symbol`` and ``timezone`` are for files that do
    not say; ``timestamp=close`` moves the times back by the timeframe.
    """
    table = read_table(path)
    times = opens_as_microseconds(table, timezone)
    if timestamp is TimestampMeaning.CLOSE:
        times = times - timeframe.minutes * _MINUTE_US
    columns = [prices_as_micros(table, name) for name in ("open", "high", "low", "close")]
    columns.append(volumes_as_shares(table))

    bars = {}
    for name, rows in _rows_by_symbol(table, symbol).items():
        time = times[rows]
        if len(time) > 1 and time[0] > time[-1] and bool(np.all(time[1:] <= time[:-1])):
            rows, time = rows[::-1], time[::-1]
        _check_spacing(table, name, time, timeframe)
        bars[name] = BarColumns(name, time, *(column[rows] for column in columns))
    return bars


class FileBars:
    """A file of bars as a ``BarSource``: read once, when it is made, with ``read_bars``' refusals."""

    def __init__(
        self,
        path: Path,
        timeframe: Timeframe,
        symbol: str | None = None,
        timezone: str | None = None,
        timestamp: TimestampMeaning = TimestampMeaning.OPEN,
    ) -> None:
        self._path = path
        self._bars = read_bars(path, timeframe, symbol, timezone, timestamp)

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    def symbols(self) -> tuple[str, ...]:
        """All symbols in the file, sorted."""
        return tuple(sorted(self._bars))

    def between(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        """Raw bars whose open lies in ``[start, end)``, in the file's order; empty where there are none."""
        bars = self._bars.get(symbol)
        if bars is None:
            return BarColumns.empty(symbol)
        return bars.take((bars.time >= to_epoch_us(start)) & (bars.time < to_epoch_us(end)))

    def span(self, symbol: str) -> tuple[datetime, datetime] | None:
        """Opens of the first and the last bar of ``symbol``, None where there are none."""
        bars = self._bars.get(symbol)
        if bars is None or not len(bars):
            return None
        return from_epoch_us(bars.time.min()), from_epoch_us(bars.time.max())


def _rows_by_symbol(table: BarTable, symbol: str | None) -> dict[str, NDArray[np.intp]]:
    if symbol is not None and not _SYMBOL.fullmatch(symbol):
        raise ConfigurationError(f"{symbol!r} is not a symbol. Pass one such as SPY or BRK.B with --symbol.")
    names = table.column("symbol")
    if names is None:
        if symbol is None:
            raise ConfigurationError(
                f"{table.path} does not say whose bars it holds: it has no symbol column. Pass --symbol (feed.symbol), "
                f"for example --symbol SPY."
            )
        return {symbol: np.arange(table.rows)}
    encoded = pc.dictionary_encode(names.cast(pa.string()), null_encoding="encode").combine_chunks()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    by_symbol: dict[str, list[NDArray[np.intp]]] = {}
    for code, text in enumerate(encoded.dictionary.to_pylist()):
        rows = np.flatnonzero(codes == code)
        name = (text or "").strip().upper()
        if not _SYMBOL.fullmatch(name):
            raise ConfigurationError(
                f"{table.path}: {text!r} in the column {table.header('symbol')}, row {rows[0] + 1}, is not a symbol. "
                f"Mend that row, or remove it."
            )
        by_symbol.setdefault(name, []).append(rows)
    if symbol is not None and symbol not in by_symbol:
        raise ConfigurationError(
            f"{table.path} names its symbols itself ({', '.join(sorted(by_symbol)[:8])}), and {symbol} is not one of "
            f"them. Leave out --symbol (feed.symbol)."
        )
    return {name: rows[0] if len(rows) == 1 else np.sort(np.concatenate(rows)) for name, rows in by_symbol.items()}


def _check_spacing(table: BarTable, symbol: str, time: Column, timeframe: Timeframe) -> None:
    """Refuse bars that are plainly of another timeframe; missing and single stray bars are not for here to judge."""
    spacings = np.diff(time)
    if not bool(np.all(spacings > 0)):
        spacings = np.diff(np.unique(time))
    if len(spacings) < 2:
        return
    length = timeframe.minutes * _MINUTE_US
    typical, least = int(np.median(spacings)), int(spacings.min())
    daily = least >= _DAILY_US
    wider = len(spacings) >= _SPACINGS_THAT_TELL and int(np.gcd.reduce(spacings)) > length
    if typical < length or daily or wider:
        raise ConfigurationError(
            f"{table.path}: the bars of {symbol} are {_duration(typical)} apart, which is not the timeframe "
            f"{timeframe.value}. Give a file of {timeframe.value} bars, or set session.timeframe to the file's."
        )


def _duration(microseconds: int) -> str:
    for unit, name in (
        (86_400_000_000, "day"),
        (60 * _MINUTE_US, "hour"),
        (_MINUTE_US, "minute"),
        (1_000_000, "second"),
    ):
        if microseconds >= unit:
            count = microseconds / unit
            return f"{count:g} {name}{'s' if count != 1 else ''}"
    return f"{microseconds} microseconds"
