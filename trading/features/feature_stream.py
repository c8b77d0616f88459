"""The features of one symbol, bar by bar."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trading.bars import MISSING
from trading.features.catalogue import Holding
from trading.features.graph import Graph
from trading.features.series import Field, Floats
from trading.features.session_table import NO_SESSION, SessionClock
from trading.ports import MarketWindow

_NAN = float("nan")


class FeatureStream:
    """Follows a window over one symbol: each new bar costs the same, however long the warmup is.

    It need not be stored. Features depend on the last ``warmup_bars`` bars and on nothing older, so a stream that began with
    just these says what one says that was there all along.
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
        self._used = graph.fields
        self._session_of = SessionClock(exchange).session_of if graph.needs_sessions else None
        self._of_market = list(of_market)
        self._holdings = dict(holdings)
        self._width = width
        self._symbol: str | None = None
        self._restart()

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
            connects = len(times) == 2 and times[0] == self._newest
            self._take_in(window, symbol, 1 if connects else self._missed(window, symbol))
        if self._seen < self._warmup_bars:
            return None
        if not self._holdings:
            return self._of_bar.copy()
        row = np.empty(self._width)
        row[self._of_market] = self._of_bar
        for column, holding in self._holdings.items():
            row[column] = np.sign(position) if holding is Holding.SIGN else unrealized_fraction
        return row

    def _restart(self) -> None:
        self._live = self._graph.live()
        self._newest = MISSING
        self._seen = 0
        self._of_bar = np.empty(0)

    def _missed(self, window: MarketWindow, symbol: str) -> int:
        """How many of the window's bars are to be taken in; begins again where the newest one that it knows is not there."""
        available = window.available(symbol)
        times = window.times(symbol, available)
        after = int(np.searchsorted(times, self._newest, side="right"))
        connects = 0 < after < available and times[after - 1] == self._newest
        if connects and available - after <= self._warmup_bars:
            return available - after
        self._restart()
        return min(available, self._warmup_bars)

    def _take_in(self, window: MarketWindow, symbol: str, count: int) -> None:
        used = self._used
        times = window.times(symbol, count).tolist()
        unused = [_NAN] * count
        highs = _known(window.highs(symbol, count), 1) if Field.HIGH in used else unused
        lows = _known(window.lows(symbol, count), 1) if Field.LOW in used else unused
        closes = _known(window.closes(symbol, count), 1) if Field.CLOSE in used else unused
        volumes = _known(window.volumes(symbol, count), 0) if Field.VOLUME in used else unused
        session_of = self._session_of
        for time, high, low, close, volume in zip(times, highs, lows, closes, volumes, strict=True):
            session = NO_SESSION if session_of is None else session_of(time)
            self._of_bar = self._live.step((float(time), high, low, close, volume, *session))
        self._newest = times[-1]
        self._seen += count


def _known(column: Any, lowest: int) -> list[float]:
    return [float(number) if number >= lowest else _NAN for number in column.tolist()]
