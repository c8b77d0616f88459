"""The bars that the market has or had: sane ones only, each once, in order of time.

A market has no nonsense: rows that are no bar are left out, of repeated ones the first counts. What bad data a client may meet is made
on the way to it, by faults. Nothing here looks ahead: who asks says until when bars are known.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

import numpy as np

from trading.bars import MISSING, Bar, BarColumns, Timeframe, to_epoch_us
from trading.rehearsal_gateway.five_second_bars import FIVE_SECONDS, Piece, cut_prices

ReadBars = Callable[[str, datetime, datetime], BarColumns]
"""Raw bars of a symbol whose open lies in ``[start, end)``; empty where there are none."""

_FIVE_SECONDS_US = 5_000_000


def nothing(symbol: str, _start: datetime, _end: datetime) -> BarColumns:
    """The source of a market whose bars are all shown by hand."""
    return BarColumns.empty(symbol)


class PastBars:
    """Bars of ``timeframe`` from a source, and those that were shown by hand besides."""

    def __init__(self, read: ReadBars, timeframe: Timeframe) -> None:
        self.timeframe = timeframe
        self._read = read
        self._shown: dict[str, BarColumns] = {}

    def show(self, bars: Iterable[Bar]) -> None:
        """From now on these are bars of the market too."""
        for bar in bars:
            earlier = self._shown.get(bar.symbol, BarColumns.empty(bar.symbol))
            self._shown[bar.symbol] = earlier.joined(BarColumns.of(bar.symbol, [bar]))

    def between(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        """Bars whose open lies in ``[start, end)``, whether they are over or not."""
        bars = self._read(symbol, start, end)
        shown = self._shown.get(symbol)
        if shown is not None:
            bars = bars.joined(shown.take((shown.time >= to_epoch_us(start)) & (shown.time < to_epoch_us(end))))
        return _sane(bars)

    def known(self, symbol: str, start: datetime, end: datetime, until: datetime) -> BarColumns:
        """What is known at ``until`` of bars that open in ``[start, end)``: whole bars, and of one in progress what is over."""
        bars = self.between(symbol, start, min(end, until))
        whole = bars.time <= to_epoch_us(until - self.timeframe.length)
        known, in_progress = bars.take(whole), bars.take(~whole)
        return known.joined(self._so_far(in_progress, until)) if len(in_progress) else known

    def in_five_seconds(self, bars: BarColumns) -> BarColumns:
        """Whole bars cut into pieces of five seconds."""
        count = self.timeframe.length // FIVE_SECONDS
        return _joined(bars.symbol, [_pieces_of(bars, row, count) for row in range(len(bars))])

    def known_in_five_seconds(self, symbol: str, start: datetime, end: datetime, until: datetime) -> BarColumns:
        """As ``known``, in pieces of five seconds."""
        # The bar that began before ``start`` has pieces after it.
        bars = self.between(symbol, start - self.timeframe.length, min(end, until))
        pieces = self.in_five_seconds(bars)
        over = pieces.time <= to_epoch_us(until - FIVE_SECONDS)
        return pieces.take(over & (pieces.time >= to_epoch_us(start)) & (pieces.time < to_epoch_us(end)))

    def _so_far(self, bars: BarColumns, until: datetime) -> BarColumns:
        """One bar of what is over of each."""
        merged = []
        for row in range(len(bars)):
            pieces = _pieces_of(bars, row, self.timeframe.length // FIVE_SECONDS)
            pieces = pieces.take(pieces.time <= to_epoch_us(until - FIVE_SECONDS))
            if len(pieces):
                merged.append(_merged(pieces))
        return _joined(bars.symbol, merged)


def _sane(bars: BarColumns) -> BarColumns:
    prices = (bars.open, bars.high, bars.low, bars.close)
    sane = (bars.low > 0) & (bars.volume >= 0) | (bars.volume == MISSING) & (bars.low > 0)
    for price in prices:
        sane &= (price != MISSING) & (price >= bars.low) & (price <= bars.high)
    if not bool(sane.all()):
        bars = bars.take(sane)
    if len(bars) and not bool((np.diff(bars.time) > 0).all()):
        _, first = np.unique(bars.time, return_index=True)
        bars = bars.take(first)
    return bars


def _pieces_of(bars: BarColumns, row: int, count: int) -> BarColumns:
    volume = int(bars.volume[row])
    pieces = cut_prices(
        int(bars.open[row]),
        int(bars.high[row]),
        int(bars.low[row]),
        int(bars.close[row]),
        None if volume == MISSING else volume,
        count,
    )
    return columns_of(bars.symbol, int(bars.time[row]), pieces)


def columns_of(symbol: str, first_us: int, pieces: list[Piece]) -> BarColumns:
    """Pieces of five seconds that follow each other, as columns."""
    table = np.array(
        [(one.open, one.high, one.low, one.close, MISSING if one.volume is None else one.volume) for one in pieces],
        dtype=np.int64,
    ).reshape(-1, 5)
    times = first_us + _FIVE_SECONDS_US * np.arange(len(pieces), dtype=np.int64)
    return BarColumns(symbol, times, *(table[:, column] for column in range(5)))


def _merged(pieces: BarColumns) -> BarColumns:
    volume = MISSING if int(pieces.volume[0]) == MISSING else int(pieces.volume.sum())
    return BarColumns(
        pieces.symbol,
        pieces.time[:1],
        pieces.open[:1],
        pieces.high.max(keepdims=True),
        pieces.low.min(keepdims=True),
        pieces.close[-1:],
        np.array([volume], dtype=np.int64),
    )


def _joined(symbol: str, parts: list[BarColumns]) -> BarColumns:
    if not parts:
        return BarColumns.empty(symbol)
    return BarColumns(
        symbol,
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("time", "open", "high", "low", "close", "volume")
        ),
    )
