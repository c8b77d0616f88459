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
    """The newest returns of one symbol with the opens of their bars, side by side: adding one costs the same however many are kept."""

    __slots__ = ("_count", "_digest", "_end", "_times", "_values", "largest", "newest")

    def __init__(self, count: int) -> None:
        self._count = count
        self._end = 0
        self._times = np.empty(2 * count, dtype=np.int64)
        self._values = np.empty(2 * count, dtype=np.float64)
        self._digest = 0
        self.newest = -1
        self.largest = 0.0
        """The largest of the returns that are kept, whatever its sign."""

    def __len__(self) -> int:
        return min(self._end, self._count)

    @property
    def times(self) -> Column:
        return self._times[max(self._end - self._count, 0) : self._end]

    @property
    def values(self) -> Returns:
        return self._values[max(self._end - self._count, 0) : self._end]

    @property
    def grid(self) -> tuple[int, int, int]:
        """Equal for two tracks whose returns are of the same bars: how many, the newest, and the sum of the times' hashes.

        Sums of the times themselves, or of their squares, are alike for bars that are not.
        """
        return len(self), self.newest, self._digest

    def catch_up(self, window: MarketWindow, symbol: str) -> None:
        """Add the returns of the bars that came since the last time."""
        times = window.times(symbol, 2)
        if not len(times) or times[-1] == self.newest:
            return
        if len(times) == 2 and times[0] == self.newest:
            before, after = window.closes(symbol, 2).tolist()
            self._append(int(times[1]), after / before - 1.0)
        else:
            self._add_many(window.times(symbol, self._count + 1), window.closes(symbol, self._count + 1))
        self.newest = int(times[-1])

    def _add_many(self, times: Column, closes: Column) -> None:
        if self.newest >= 0:
            first = max(int(np.searchsorted(times, self.newest, side="right")) - 1, 0)
            times, closes = times[first:], closes[first:]
        for time, value in zip(times[1:].tolist(), (closes[1:] / closes[:-1] - 1.0).tolist(), strict=True):
            self._append(time, value)

    def _append(self, time: int, value: float) -> None:
        if self._end == len(self._times):
            kept = self._count
            self._times[:kept] = self._times[-kept:].copy()
            self._values[:kept] = self._values[-kept:].copy()
            self._end = kept
        self._times[self._end] = time
        self._values[self._end] = value
        self._end += 1
        self._digest += hash((time,))
        size, gone = abs(value), self._end - 1 - self._count
        if size > self.largest:
            self.largest = size
        if gone >= 0:
            self._digest -= hash((int(self._times[gone]),))
            if abs(self._values[gone]) >= self.largest:
                self.largest = float(np.abs(self.values).max())


class TailScenarios:
    """Scenarios of what is held: ``bars`` newest returns of each symbol, for ``horizon_bars`` bars ahead."""

    def __init__(self, bars: int, confidence: Decimal, horizon_bars: int) -> None:
        self.bars = bars
        self._beyond = 1 - confidence
        self._scale = math.sqrt(horizon_bars)
        self._tracks: dict[str, _Track] = {}
        self.least = min(math.ceil(1 / self._beyond), bars)

    def at_most(self, window: MarketWindow, worth: Mapping[str, Decimal], symbol: str, own: Decimal) -> Decimal:
        """What a book can lose at the very most in any scenario, ``own`` (signed money) of ``symbol`` included.

        Each position at its own worst bar, whatever its sign: more than the tail, and told at once. Raises ``TooLittleHistory``.
        """
        loss = abs(float(own)) * self._returns(window, symbol).largest
        for other, amount in worth.items():
            loss += abs(float(amount)) * self._returns(window, other).largest
        return _money(loss * self._scale)

    def of_book(self, window: MarketWindow, worth: Mapping[str, Decimal], symbol: str) -> "BookScenarios":
        """Scenarios of positions worth ``worth`` (signed money by symbol) to which some of ``symbol`` may be added.

        Raises ``TooLittleHistory``.
        """
        own = self._returns(window, symbol)
        values, grid = own.values, own.grid
        loss = np.zeros(len(values))
        for other, amount in worth.items():
            track = self._returns(window, other)
            if track.grid != grid:
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
        if len(track) < self.least:
            raise TooLittleHistory(f"{len(track)} returns of {symbol} are known, {self.least} are needed")
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
        first = len(loss) - max(int(self._beyond * len(loss)), 1)
        worst = np.partition(loss, first)[first:].tolist()
        return TailRisk(_money(worst[0] * self._scale), _money(sum(worst) / len(worst) * self._scale))


def _money(amount: float) -> Decimal:
    """A measured loss as money, rounded up to the micro: it is compared with a limit and never booked."""
    return from_micros(math.ceil(max(amount, 0.0) * 1_000_000))
