"""What the book may lose: historical simulation over the newest returns of what is held.

Each bar's returns are one scenario; the book as it is now is put through all of them (Hull, *Options, Futures and Other
Derivatives*, "Value at risk and expected shortfall": historical simulation). Returns are kept per symbol and only new bars are
added, so that an order costs the same however long the history is.
"""

import math
from collections.abc import Mapping
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from trading.bars import Column
from trading.money import from_micros
from trading.ports import MarketWindow
from trading.risk_rules import TailRisk

Returns = NDArray[np.float64]


class TooLittleHistory(Exception):
    """There are fewer returns than the confidence needs; says of which symbol."""


class _Track:
    """The newest returns of one symbol with the opens of their bars, side by side."""

    __slots__ = ("_count", "_end", "_times", "_values", "last_close", "newest")

    def __init__(self, count: int) -> None:
        self._count = count
        self._end = 0
        self._times = np.empty(2 * count, dtype=np.int64)
        self._values = np.empty(2 * count, dtype=np.float64)
        self.newest = -1
        self.last_close = 0

    @property
    def times(self) -> Column:
        return self._times[max(self._end - self._count, 0) : self._end]

    @property
    def values(self) -> Returns:
        return self._values[max(self._end - self._count, 0) : self._end]

    def catch_up(self, window: MarketWindow, symbol: str) -> None:
        """Add the returns of the bars that came since the last time."""
        newest = window.times(symbol, 1)
        if not len(newest) or newest[0] == self.newest:
            return
        times, closes = window.times(symbol, 2), window.closes(symbol, 2)
        if len(times) < 2 or times[0] != self.newest:
            times, closes = window.times(symbol, self._count + 1), window.closes(symbol, self._count + 1)
            if self.newest >= 0:
                new = int(np.searchsorted(times, self.newest, side="right"))
                times, closes = times[max(new - 1, 0) :], closes[max(new - 1, 0) :]
        returns = closes[1:] / closes[:-1] - 1.0
        self._append(times[1:], returns)
        self.newest = int(times[-1])

    def _append(self, times: Column, values: Returns) -> None:
        if self._end + len(values) > len(self._values):
            kept = min(self._count, self._end)
            self._times[:kept] = self._times[self._end - kept : self._end].copy()
            self._values[:kept] = self._values[self._end - kept : self._end].copy()
            self._end = kept
        self._times[self._end : self._end + len(values)] = times
        self._values[self._end : self._end + len(values)] = values
        self._end += len(values)


class TailScenarios:
    """Scenarios of what is held: ``bars`` newest returns of each symbol, for ``horizon_bars`` bars ahead."""

    def __init__(self, bars: int, confidence: Decimal, horizon_bars: int) -> None:
        self.bars = bars
        self._beyond = 1 - confidence
        self._scale = math.sqrt(horizon_bars)
        self._tracks: dict[str, _Track] = {}
        self.least = min(math.ceil(1 / self._beyond), bars)

    def of_book(self, window: MarketWindow, worth: Mapping[str, Decimal], symbol: str) -> "BookScenarios":
        """Scenarios of positions worth ``worth`` (signed money by symbol) to which some of ``symbol`` may be added.

        Raises ``TooLittleHistory``.
        """
        own = self._returns(window, symbol)
        loss = np.zeros(len(own.values))
        grid, values = own.times, own.values
        for other, amount in worth.items():
            track = self._returns(window, other)
            if track is not own and not np.array_equal(track.times, grid):
                return self._of_book_on_one_grid(window, worth, symbol)
            loss -= float(amount) * track.values
        return BookScenarios(loss, values, self._beyond, self._scale)

    def _of_book_on_one_grid(self, window: MarketWindow, worth: Mapping[str, Decimal], symbol: str) -> "BookScenarios":
        """The same where bars of the symbols came at different times: a bar that did not come is no return."""
        tracks = {name: self._returns(window, name) for name in {*worth, symbol}}
        grid = np.unique(np.concatenate([track.times for track in tracks.values()]))[-self.bars :]

        def on_grid(track: _Track) -> Returns:
            spread = np.zeros(len(grid))
            places = np.searchsorted(grid, track.times)
            known = track.times >= grid[0]
            spread[places[known]] = track.values[known]
            return spread

        loss = np.zeros(len(grid))
        for name, amount in worth.items():
            loss -= float(amount) * on_grid(tracks[name])
        return BookScenarios(loss, on_grid(tracks[symbol]), self._beyond, self._scale)

    def _returns(self, window: MarketWindow, symbol: str) -> _Track:
        track = self._tracks.get(symbol)
        if track is None:
            track = self._tracks[symbol] = _Track(self.bars)
        track.catch_up(window, symbol)
        if len(track.values) < self.least:
            raise TooLittleHistory(f"{len(track.values)} returns of {symbol} are known, {self.least} are needed")
        return track


class BookScenarios:
    """The book's loss in each scenario, positive is a loss, and the returns of the symbol that an order is for."""

    __slots__ = ("_beyond", "_loss", "_returns", "_scale")

    def __init__(self, loss: Returns, returns: Returns, beyond: Decimal, scale: float) -> None:
        self._loss = loss
        self._returns = returns
        self._beyond = beyond
        self._scale = scale

    def with_added(self, worth: Decimal) -> TailRisk:
        """The tail with ``worth`` (signed money) of the symbol added: its least loss, and their mean; never negative.

        With n scenarios the floor((1 - c) n) worst ones are the tail, at least one: of 250 at 0.99 the two worst.
        """
        loss = self._loss - float(worth) * self._returns
        tail = max(int(self._beyond * len(loss)), 1)
        worst = np.partition(loss, len(loss) - tail)[len(loss) - tail :]
        return TailRisk(_money(float(worst.min()) * self._scale), _money(float(worst.mean()) * self._scale))


def _money(amount: float) -> Decimal:
    """A measured loss as money, rounded up to the micro: it is compared with a limit and never booked."""
    return from_micros(math.ceil(max(amount, 0.0) * 1_000_000))
