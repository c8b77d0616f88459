"""Looking back: the newest bars of each symbol, while a session runs and over stored history.

One rule: a window never shows a bar later than the one that is decided on. What is handed out are read-only views,
good until the window moves on.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta

import numpy as np

from trading.bars import MISSING, Bar, BarColumns, BarSlice, Column, to_epoch_us
from trading.errors import ConfigurationError
from trading.money import to_micros

_NONE = np.empty(0, dtype=np.int64)
_NONE.flags.writeable = False

_TIME, _HIGH, _LOW, _CLOSE, _VOLUME = range(5)
_BYTES_PER_BAR = 2 * 5 * np.dtype(np.int64).itemsize
"""Each bar kept has room for a second one, so that the newest bars always lie side by side."""


class _Track:
    """The newest bars of one symbol, side by side: adding one costs the same however many are kept."""

    __slots__ = ("_capacity", "_columns", "_end", "_shown", "_start")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._columns = np.empty((5, 2 * capacity), dtype=np.int64)
        self._shown = self._columns.view()
        self._shown.flags.writeable = False
        self._start = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def newest(self) -> int:
        return int(self._columns[_TIME, self._end - 1]) if len(self) else MISSING

    def extend(self, bars: BarColumns) -> None:
        rows = bars.take(slice(max(len(bars) - self._capacity, 0), None))
        for time, high, low, close, volume in zip(rows.time, rows.high, rows.low, rows.close, rows.volume, strict=True):
            self._append(time, high, low, close, volume)

    def append(self, bar: Bar) -> None:
        self._append(
            to_epoch_us(bar.bar_time),
            to_micros(bar.high),
            to_micros(bar.low),
            to_micros(bar.close),
            MISSING if bar.volume is None else bar.volume,
        )

    def _append(self, *values: int) -> None:
        if self._end == 2 * self._capacity:
            kept = self._columns[:, self._end - self._capacity + 1 : self._end].copy()
            self._columns[:, : kept.shape[1]] = kept
            self._start, self._end = 0, kept.shape[1]
        self._columns[:, self._end] = values
        self._end += 1
        self._start = max(self._start, self._end - self._capacity)

    def forget_before(self, oldest: int) -> None:
        times = self._columns[_TIME]
        while self._start < self._end and times[self._start] < oldest:
            self._start += 1

    def last(self, column: int, count: int) -> Column:
        return self._shown[column, max(self._start, self._end - count) : self._end]


class LiveWindow:
    """The newest bars of a running session: ``capacity`` per symbol, none older than ``age`` before the newest.

    Raises ``ConfigurationError`` when that many bars of that many symbols need more than ``max_bytes``.
    """

    def __init__(self, symbols: Iterable[str], capacity: int, max_bytes: int, age: timedelta) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._age = age // timedelta(microseconds=1)
        self._tracks: dict[str, _Track] = {}
        self._present: tuple[str, ...] = ()
        self.keep(symbols)

    @property
    def capacity(self) -> int:
        """How many bars of each symbol it keeps at most."""
        return self._capacity

    @property
    def bytes(self) -> int:
        """The memory its bars take, however many there are yet."""
        return len(self._tracks) * self._capacity * _BYTES_PER_BAR

    def keep(self, symbols: Iterable[str]) -> None:
        """Keep bars of these symbols too, those that are kept already as they are."""
        new = [symbol for symbol in symbols if symbol not in self._tracks]
        if not new:
            return
        count = len(self._tracks) + len(new)
        needed = count * self._capacity * _BYTES_PER_BAR
        if needed > self._max_bytes:
            raise ConfigurationError(
                f"Keeping {self._capacity} bars of {count} symbols takes {needed:,} bytes; the cache may take "
                f"{self._max_bytes:,}. Trade fewer symbols, shorten the policy's warmup, or allow a larger cache."
            )
        self._tracks.update((symbol, _Track(self._capacity)) for symbol in new)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that have a bar in the newest slice."""
        return self._present

    def fill(self, bars: BarColumns) -> None:
        """Add clean history, oldest first, before the first slice."""
        track = self._tracks[bars.symbol]
        track.extend(bars)
        track.forget_before(track.newest - self._age)

    def advance(self, moment: BarSlice) -> None:
        """Move on to ``moment``. Bars that are there already are not added again; new symbols are kept from now on."""
        self.keep(moment.bars)
        oldest = to_epoch_us(moment.bar_time) - self._age
        for symbol, bar in moment.bars.items():
            track = self._tracks[symbol]
            if to_epoch_us(bar.bar_time) > track.newest:
                track.append(bar)
            track.forget_before(oldest)
        self._present = tuple(moment.bars)

    def available(self, symbol: str) -> int:
        """How many bars of the symbol there are to look back on."""
        track = self._tracks.get(symbol)
        return 0 if track is None else len(track)

    def closes(self, symbol: str, count: int) -> Column:
        """The last ``count`` closes in micros, oldest first."""
        return self._last(symbol, _CLOSE, count)

    def highs(self, symbol: str, count: int) -> Column:
        """The last ``count`` highs in micros, oldest first."""
        return self._last(symbol, _HIGH, count)

    def lows(self, symbol: str, count: int) -> Column:
        """The last ``count`` lows in micros, oldest first."""
        return self._last(symbol, _LOW, count)

    def volumes(self, symbol: str, count: int) -> Column:
        """The last ``count`` volumes in shares, oldest first."""
        return self._last(symbol, _VOLUME, count)

    def times(self, symbol: str, count: int) -> Column:
        """The opens of the last ``count`` bars in microseconds, oldest first."""
        return self._last(symbol, _TIME, count)

    def _last(self, symbol: str, column: int, count: int) -> Column:
        track = self._tracks.get(symbol)
        return _NONE if track is None else track.last(column, count)


class HistoryWindow:
    """A window over whole columns of clean history, moved from row to row without copying.

    Stands before the first row of every symbol until ``move_to``.
    """

    def __init__(self, history: Mapping[str, BarColumns]) -> None:
        self._history = {symbol: _read_only(columns) for symbol, columns in history.items()}
        self._ends = dict.fromkeys(history, 0)
        self._present: tuple[str, ...] = ()

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that were moved last."""
        return self._present

    def move_to(self, rows: Mapping[str, int]) -> None:
        """Stand on these rows, one per symbol that has a bar at the moment; other symbols stay where they are."""
        for symbol, row in rows.items():
            self._ends[symbol] = row + 1
        self._present = tuple(rows)

    def available(self, symbol: str) -> int:
        """How many bars of the symbol there are up to where it stands."""
        return self._ends.get(symbol, 0)

    def closes(self, symbol: str, count: int) -> Column:
        """The last ``count`` closes in micros, oldest first."""
        return self._last(symbol, "close", count)

    def highs(self, symbol: str, count: int) -> Column:
        """The last ``count`` highs in micros, oldest first."""
        return self._last(symbol, "high", count)

    def lows(self, symbol: str, count: int) -> Column:
        """The last ``count`` lows in micros, oldest first."""
        return self._last(symbol, "low", count)

    def volumes(self, symbol: str, count: int) -> Column:
        """The last ``count`` volumes in shares, oldest first."""
        return self._last(symbol, "volume", count)

    def times(self, symbol: str, count: int) -> Column:
        """The opens of the last ``count`` bars in microseconds, oldest first."""
        return self._last(symbol, "time", count)

    def _last(self, symbol: str, column: str, count: int) -> Column:
        columns = self._history.get(symbol)
        if columns is None:
            return _NONE
        end = self._ends[symbol]
        whole: Column = getattr(columns, column)
        return whole[max(end - count, 0) : end]


def _read_only(columns: BarColumns) -> BarColumns:
    views = []
    for column in (columns.time, columns.open, columns.high, columns.low, columns.close, columns.volume):
        view = column.view()
        view.flags.writeable = False
        views.append(view)
    return BarColumns(columns.symbol, *views)
