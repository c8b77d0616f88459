"""Bars of a session made of the broker's five-second bars, whatever way those come: late, twice, in disorder, with holes.

Pure: nothing here waits or asks. One rule: each five seconds count once, the first time that they come, and a bar is whole only
when all of its five seconds were heard. What is nonsense stays nonsense, for the validation to see.

Volumes are whole shares: that is what gateways send to clients of protocol version 163 and later (ib_insync speaks 176), as long
as the gateway's setting "Send market data in lots for US stocks for dual-mode API clients" is off. Older ones counted in hundreds.
"""

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from trading.bars import MISSING, BarColumns, Timeframe, from_epoch_us, to_epoch_us
from trading.interactive_brokers.messages import BarTold
from trading.money import MICROS_PER_UNIT
from trading.trading_hours import TradingHours

FIVE_SECONDS_US = 5_000_000

_TOO_LARGE = 9e12
"""A price of more units does not fit a column."""

Row = tuple[int, int, int, int, int]
"""Open, high, low and close in micros and volume in shares; ``MISSING`` where there is no number."""


def row_of(opened: float, high: float, low: float, close: float, volume: float) -> Row:
    """Numbers of the wire as those of columns."""
    return _micros(opened), _micros(high), _micros(low), _micros(close), _shares(volume)


def columns_of(symbol: str, bars: Sequence[BarTold]) -> BarColumns:
    """Bars as they were told, as columns in the same order."""
    if not bars:
        return BarColumns.empty(symbol)
    rows = [(to_epoch_us(bar.time), *row_of(bar.open, bar.high, bar.low, bar.close, bar.volume)) for bar in bars]
    return BarColumns(symbol, *np.array(rows, dtype=np.int64).T)


class SessionGrid:
    """When the bars of a session begin and end, by number: 0 is the first. Times in microseconds since the epoch."""

    def __init__(self, hours: TradingHours, timeframe: Timeframe) -> None:
        self.opens_us = to_epoch_us(hours.opens_at)
        self.closes_us = to_epoch_us(hours.closes_at)
        self.length_us = timeframe.minutes * 60_000_000
        self.count = hours.bar_count(timeframe)

    def number_of(self, time_us: int) -> int | None:
        """The bar that ``time_us`` falls into; None outside the session."""
        if not self.opens_us <= time_us < self.closes_us:
            return None
        return (time_us - self.opens_us) // self.length_us

    def begins_us(self, number: int) -> int:
        """When a bar begins."""
        return self.opens_us + number * self.length_us

    def ends_us(self, number: int) -> int:
        """When it is over; the close may cut the last one short."""
        return min(self.begins_us(number) + self.length_us, self.closes_us)

    def begins_at(self, number: int) -> datetime:
        """When a bar begins, aware UTC."""
        return from_epoch_us(self.begins_us(number))

    def over_by(self, time_us: int) -> int:
        """How many bars are over."""
        if time_us >= self.closes_us:
            return self.count
        return max((time_us - self.opens_us) // self.length_us, 0)

    def first_after(self, after: datetime | None) -> int:
        """The first bar that begins later than ``after``."""
        if after is None or to_epoch_us(after) < self.opens_us:
            return 0
        return min((to_epoch_us(after) - self.opens_us) // self.length_us + 1, self.count)


class LiveMinutes:
    """One symbol's bars of a session in the making, from bar number ``first`` on."""

    def __init__(self, grid: SessionGrid, first: int = 0) -> None:
        self._grid = grid
        self._first = first
        self._pieces: dict[int, dict[int, Row]] = {}
        self._renewed: dict[int, Row] = {}
        self._renewed_at: dict[int, int] = {}
        self._newest_renewed = -1
        self._broken_off: set[int] = set()
        self._rows: dict[int, Row] = {}
        self.heard_until_us = grid.opens_us
        """Until when the newest bar that came reaches; the open before the first one."""

    def take(self, bar: BarTold) -> int | None:
        """Take in five seconds; the number of their bar, None where they bring nothing new: they came before, are too late,
        lie outside the session or begin at no multiple of five seconds."""
        time_us = to_epoch_us(bar.time)
        number = self._grid.number_of(time_us)
        if number is None or (time_us - self._grid.opens_us) % FIVE_SECONDS_US:
            return None
        self.heard_until_us = max(self.heard_until_us, time_us + FIVE_SECONDS_US)
        if number < self._first or number in self._rows:
            return None
        pieces = self._pieces.setdefault(number, {})
        place = (time_us - self._grid.begins_us(number)) // FIVE_SECONDS_US
        if place in pieces:
            return None
        pieces[place] = row_of(bar.open, bar.high, bar.low, bar.close, bar.volume)
        if len(pieces) == self._places(number):
            self._rows[number] = _put_together([pieces[place] for place in sorted(pieces)])
            del self._pieces[number]
        return number

    def renew(self, bar: BarTold, now_us: int, missed_us: int) -> int | None:
        """Take in a bar of the session's length that is still growing: it is whole once a later one has begun.

        ``now_us`` is the server's time. A bar whose last news is more than ``missed_us`` older than its end has lost some: it is not
        whole. The number of the bar; None where it brings nothing new. A stream that repeats its last state for ever looks like a bar in
        which nothing is traded: bars of five seconds cannot be mistaken so.
        """
        number = self._grid.number_of(to_epoch_us(bar.time))
        if number is None or to_epoch_us(bar.time) != self._grid.begins_us(number):
            return None
        self.heard_until_us = max(self.heard_until_us, self._grid.begins_us(number) + 1)
        if number < max(self._first, self._newest_renewed) or number in self._rows:
            return None
        row = row_of(bar.open, bar.high, bar.low, bar.close, bar.volume)
        known = self._renewed.get(number)
        if known is not None and 0 <= row[4] < known[4]:
            return None  # what it was before: volume only grows
        # Where nothing is traded the bar stays as it is, and that is heard too.
        self._renewed_at[number] = now_us
        if known == row:
            return None
        self._renewed[number] = row
        if number > self._newest_renewed:
            before, self._newest_renewed = self._newest_renewed, number
            self.settle_renewed(before, missed_us)
        return number

    def settle_renewed(self, number: int, missed_us: int) -> None:
        """No more news of this growing bar is waited for: it is whole as it is, or has broken off (see ``renew``)."""
        row, at_us = self._renewed.pop(number, None), self._renewed_at.pop(number, 0)
        if row is None or number < self._first:
            return
        if at_us + missed_us >= self._grid.ends_us(number):
            self._rows.setdefault(number, row)
        else:
            self._broken_off.add(number)

    def break_off(self) -> None:
        """What was subscribed to has ended: what is growing is not believed, until it is renewed from elsewhere."""
        self._renewed.clear()
        self._renewed_at.clear()
        self._newest_renewed = -1

    def fill(self, number: int, row: Row) -> bool:
        """A bar from history. False where it is whole already, or was passed on."""
        if number < self._first or number in self._rows:
            return False
        self._rows[number] = row
        self._forget(number)
        return True

    def row(self, number: int) -> Row | None:
        """The bar, where it is whole."""
        return self._rows.get(number)

    def has_begun(self, number: int) -> bool:
        """Whether something of the bar was heard."""
        return number in self._rows or number in self._pieces or number in self._renewed

    def is_growing(self, number: int) -> bool:
        """Whether it is one of those that are renewed, and not whole yet."""
        return number in self._renewed

    def surely_lacks(self, number: int) -> bool:
        """Whether five seconds of it are missing that cannot just be on their way: later ones have come."""
        if number in self._rows or number in self._renewed:
            return False
        if number in self._broken_off:
            return True
        pieces = self._pieces.get(number, {})
        return self.heard_until_us > self._grid.ends_us(number) or (bool(pieces) and max(pieces) >= len(pieces))

    def has_whole_after(self, number: int) -> bool:
        """Whether a later bar is whole."""
        return any(later > number for later in self._rows)

    def pass_on(self, number: int) -> None:
        """The bar, and all before it, are delivered or given up: nothing of them is taken any more."""
        for passed in range(self._first, number + 1):
            self._rows.pop(passed, None)
            self._forget(passed)
        self._first = max(self._first, number + 1)

    def _forget(self, number: int) -> None:
        self._pieces.pop(number, None)
        self._renewed.pop(number, None)
        self._renewed_at.pop(number, None)
        self._broken_off.discard(number)

    def _places(self, number: int) -> int:
        return (self._grid.ends_us(number) - self._grid.begins_us(number)) // FIVE_SECONDS_US


def _put_together(pieces: Sequence[Row]) -> Row:
    opens, highs, lows, closes, volumes = zip(*pieces, strict=True)
    high = MISSING if MISSING in highs else max(highs)
    low = MISSING if MISSING in lows else min(lows)
    # Below zero says that the source counted nothing: then nobody knows the sum.
    volume = MISSING if min(volumes) < 0 else sum(volumes)
    return opens[0], high, low, closes[-1], volume


def _micros(price: float) -> int:
    return round(price * MICROS_PER_UNIT) if math.isfinite(price) and abs(price) < _TOO_LARGE else MISSING


def _shares(volume: float) -> int:
    return round(volume) if math.isfinite(volume) and abs(volume) < _TOO_LARGE else MISSING
