"""What is subscribed to on the line that is up: for each symbol its five-second bars, or the broker's own bars kept up to date."""

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from trading.bars import Timeframe
from trading.errors import BrokerUnavailable
from trading.ib_settings import LiveBars
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.historical_bars import HistoricalBars, bar_size
from trading.interactive_brokers.messages import Instrument

if TYPE_CHECKING:
    from trading.interactive_brokers.library import GatewayLine

_log = logging.getLogger(__name__)

_LIVE, _DELAYED = 1, 3
_KEPT_SECONDS = 1_800
_DIFFERENT = 16

Spawn = Callable[[Coroutine[Any, Any, None]], None]
"""Has something done on the connection's thread, by and by."""


class LiveSubscriptions:
    """The numbers of the subscriptions of one line. Belongs to the connection's thread.

    What is kept up to date counts as a question for history, and waits for its turn: with more than about thirty symbols
    five-second bars are the better choice.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        contracts: Contracts,
        history: HistoricalBars,
        timeframe: Timeframe,
        kind: LiveBars,
        allows_delayed: bool,
    ) -> None:
        self._instruments = {symbol: _known(contracts, symbol) for symbol in symbols}
        self._history = history
        self._timeframe = timeframe
        self.kind = kind
        self._allows_delayed = allows_delayed
        self._line: GatewayLine | None = None
        self._symbols: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._left: dict[int, str] = {}
        self._has_fallen_back = False
        self._asked: dict[str, int] = {}

    def symbol_of(self, number: int) -> str | None:
        """Whose bars carry this number."""
        return self._symbols.get(number)

    def refused(self, number: int) -> str | None:
        """Whose subscription it is or was that an error with this number is about."""
        return self._symbols.get(number) or self._left.get(number)

    def has_left(self, number: int) -> bool:
        """Whether it was a subscription to the kind of bars that is not asked for any more."""
        return number in self._left

    def subscribe(self, line: "GatewayLine", spawn: Spawn) -> None:
        """Subscribe to everything on ``line``; what another line had is forgotten, what this one had is ended."""
        if line is self._line:
            self._unsubscribe_all()
        self._line = line
        self._symbols, self._numbers, self._left = {}, {}, {}
        line.ask_for_market_data(_DELAYED if self._allows_delayed else _LIVE)
        for symbol in self._instruments:
            self._subscribe(line, symbol, spawn)

    def renew(self, symbol: str, spawn: Spawn) -> None:
        """End the subscription of a symbol, and make it again."""
        line = self._line
        if line is not None and line.is_connected:
            self._unsubscribe(line, symbol)
            self._subscribe(line, symbol, spawn)

    def fall_back(self, spawn: Spawn) -> bool:
        """Keep the broker's own bars up to date from now on, because it serves no others; False where that is done already."""
        if self._has_fallen_back or self.kind is LiveBars.KEEP_UP_TO_DATE:
            return False
        line = self._line
        self._left = dict(self._symbols)
        self._unsubscribe_all()
        self._has_fallen_back = True
        self.kind = LiveBars.KEEP_UP_TO_DATE
        if line is not None and line.is_connected:
            for symbol in self._instruments:
                self._subscribe(line, symbol, spawn)
        return True

    def end(self) -> None:
        """End all subscriptions."""
        self._unsubscribe_all()
        self._symbols, self._numbers, self._line = {}, {}, None

    def _subscribe(self, line: "GatewayLine", symbol: str, spawn: Spawn) -> None:
        if self.kind is LiveBars.FIVE_SECONDS:
            self._note(symbol, line.subscribe_five_seconds(self._instruments[symbol]))
        else:
            spawn(self._keep_up_to_date(line, symbol))

    async def _keep_up_to_date(self, line: "GatewayLine", symbol: str) -> None:
        # One bar more each time: the same question again would have to wait for 15 seconds.
        asked = self._asked[symbol] = self._asked.get(symbol, 0) + 1
        length = 60 * self._timeframe.minutes
        duration = f"{max(_KEPT_SECONDS, 2 * length) + asked % _DIFFERENT * length} S"
        size = bar_size(self._timeframe)
        await self._history.turn((symbol, "kept up to date", duration, size), symbol)
        if line is self._line and line.is_connected:
            self._note(symbol, line.subscribe_up_to_date(self._instruments[symbol], duration, size, True))

    def _note(self, symbol: str, number: int) -> None:
        self._symbols[number] = symbol
        self._numbers[symbol] = number

    def _unsubscribe_all(self) -> None:
        if self._line is not None and self._line.is_connected:
            for symbol in list(self._numbers):
                self._unsubscribe(self._line, symbol)

    def _unsubscribe(self, line: "GatewayLine", symbol: str) -> None:
        number = self._numbers.pop(symbol, None)
        if number is None:
            return
        self._symbols.pop(number, None)
        if self.kind is LiveBars.FIVE_SECONDS:
            line.unsubscribe_five_seconds(number)
        else:
            line.unsubscribe_up_to_date(number)


def _known(contracts: Contracts, symbol: str) -> Instrument:
    instrument = contracts.known(symbol)
    if instrument is None:
        raise BrokerUnavailable(f"The contract of {symbol} was not looked up before its bars were subscribed to.")
    return instrument
