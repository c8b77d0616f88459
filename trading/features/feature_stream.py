"""The features of one symbol, bar by bar."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trading.bars import MISSING, Column
from trading.features.catalogue import Holding
from trading.features.graph import Graph
from trading.features.inputs import FIELDS, LOWEST, OF_SESSIONS, inputs_of
from trading.features.series import Field, Floats
from trading.features.session_table import SessionClock
from trading.ports import MarketWindow

_READ: Mapping[Field, Callable[[MarketWindow, str, int], Column]] = {
    Field.TIME: lambda window, symbol, count: window.times(symbol, count),
    Field.HIGH: lambda window, symbol, count: window.highs(symbol, count),
    Field.LOW: lambda window, symbol, count: window.lows(symbol, count),
    Field.CLOSE: lambda window, symbol, count: window.closes(symbol, count),
    Field.VOLUME: lambda window, symbol, count: window.volumes(symbol, count),
}


class FeatureStream:
    """Follows a window over one symbol: each new bar costs the same, however long the warmup is.

    It need not be stored. Features depend on the last ``warmup_bars`` bars and on nothing older, so a stream that began with
    just these says what one says that was there all along, to the last bit.
    """

    def __init__(
        self,
        graph: Graph,
        warmup_bars: int,
        exchange: str,
        width: int,
        of_market: Sequence[int],
        holdings: Mapping[int, Holding],
    ) -> None:
        self._graph = graph
        self._warmup_bars = warmup_bars
        self._exchange = exchange
        self._session_of = SessionClock(exchange).session_of if graph.needs_sessions else None
        self._width = width
        self._of_market = list(of_market)
        self._holdings = dict(holdings)
        self._reads = [
            (FIELDS.index(field), LOWEST.get(field, MISSING), read)
            for field, read in _READ.items()
            if field is Field.TIME or field in graph.fields
        ]
        self._symbol: str | None = None
        self._newest = MISSING
        self._seen = 0

    def row(
        self, window: MarketWindow, symbol: str, position: int = 0, unrealized_fraction: float = 0.0
    ) -> Floats | None:
        """The features at the symbol's newest bar in the window; None while fewer than ``warmup_bars`` bars were ever there.

        Takes in the bars that came since the last call, normally one. Begins again with the window's last ``warmup_bars``
        bars where it does not connect: more bars came than it shows, or time went back. Asking twice for the same bar gives the
        same answer. ``position`` is the held quantity and ``unrealized_fraction`` its unrealized P&L as a fraction of
        cost. Raises ``ValueError`` for another symbol than the first one.
        """
        if symbol != self._symbol:
            if self._symbol is not None:
                raise ValueError(f"a stream of {self._symbol} was asked for {symbol}")
            self._symbol = symbol
        times = window.times(symbol, 2)
        if not len(times):
            return None
        if times[-1] != self._newest:
            if len(times) == 2 and times[0] == self._newest:
                self._take_in(window, symbol, 1)
            else:
                self._catch_up(window, symbol)
        if self._seen < self._warmup_bars:
            return None
        if not self._holdings:
            return self._of_bar.copy()
        row = np.empty(self._width)
        row[self._of_market] = self._of_bar
        for column, holding in self._holdings.items():
            row[column] = np.sign(position) if holding is Holding.SIGN else unrealized_fraction
        return row

    def _catch_up(self, window: MarketWindow, symbol: str) -> None:
        """Take in all bars that it does not know, or begin again where the newest one that it knows is not there."""
        available = window.available(symbol)
        times = window.times(symbol, available)
        known = int(np.searchsorted(times, self._newest, side="right"))
        connects = 0 < known < available and times[known - 1] == self._newest
        if connects and available - known <= self._warmup_bars:
            self._take_in(window, symbol, available - known)
            return
        self._seen = min(available, self._warmup_bars) - 1
        before = {FIELDS[place]: read(window, symbol, self._seen + 1)[:-1] for place, _, read in self._reads}
        self._live = self._graph.live(inputs_of(self._exchange, before, self._graph.fields))
        self._take_in(window, symbol, 1)

    def _take_in(self, window: MarketWindow, symbol: str, count: int) -> None:
        columns = [(place, lowest, read(window, symbol, count).tolist()) for place, lowest, read in self._reads]
        numbers = [math.nan] * len(FIELDS)
        for row in range(count):
            for place, lowest, column in columns:
                number = column[row]
                numbers[place] = float(number) if number >= lowest else math.nan
            if self._session_of is not None:
                numbers[-len(OF_SESSIONS) :] = self._session_of(numbers[0])
            self._of_bar = self._live.step(numbers)
        self._newest = int(numbers[0])
        self._seen += count
