"""Interactive Brokers as a feed: past bars by questions, live bars of a session as they come."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from trading.bars import BarColumns, RawSlice, Timeframe, to_epoch_us
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.historical_bars import HistoricalBars, Patience
from trading.interactive_brokers.live_listener import LiveListener
from trading.interactive_brokers.live_minutes import SessionGrid
from trading.interactive_brokers.live_session import LiveSession
from trading.interactive_brokers.live_stream import LiveStream
from trading.interactive_brokers.live_subscriptions import LiveSubscriptions
from trading.interactive_brokers.messages import Message
from trading.sessions import Mode
from trading.trading_hours import TradingHours

if TYPE_CHECKING:
    from trading.interactive_brokers.library import GatewayLine

_ATTENDED_EVERY_SECONDS = 0.5


class IbFeed:
    """Implements ``trading.ports.Feed``; make it before the connection is opened, or after. Its time is ``connection.clock``.

    Volumes are whole shares (see ``live_minutes``). ``patience`` is how past bars are asked for.
    """

    def __init__(
        self,
        connection: GatewayConnection,
        contracts: Contracts,
        timeframe: Timeframe,
        patience: Patience = Patience(),  # noqa: B008 - it is frozen
    ) -> None:
        self._connection = connection
        self._contracts = contracts
        self._timeframe = timeframe
        self._patience = patience
        self._history = HistoricalBars(connection, contracts, timeframe)
        self._live: LiveStream | None = None
        self._listener: LiveListener | None = None
        self._attended_at = float("-inf")
        self.attend: Callable[[], None] | None = None
        """Called on the trading thread while ``stream`` waits, twice a second of the wall at most; what it raises ends the wait."""
        connection.listen(self._hear)
        connection.on_joined(self._join)

    @property
    def mode(self) -> Mode:
        """Prices as they are made."""
        return Mode.LIVE

    def history(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        """Bars of regular hours whose open lies in ``[start, end)`` and that are over, as the broker told them.

        Raises ``DataNotFit`` for a symbol that the broker does not know or the account may not see, ``ConfigurationError`` for one
        that is several contracts, ``BrokerUnavailable`` where there was no answer after all patience.
        """
        bars = self._history.between(symbol, start, end, self._patience)
        over_by = to_epoch_us(self._connection.clock.now()) - self._timeframe.minutes * 60_000_000
        return bars.take(bars.time <= over_by)

    def stream(self, symbols: Sequence[str], hours: TradingHours, after: datetime | None) -> Iterator[RawSlice]:
        """The session's bars, subscribed to at once and handed out moment by moment, each when it is over.

        Moments of today that are past already come first, from history. A moment comes when all symbols have their bar, or
        ``late_bar_seconds`` after its end without those that have none. Ends at the close, also where no bar comes any more. Raises
        as ``history`` for a symbol; while nothing was handed out, ``DataNotFit`` where live bars are refused.
        """
        self.end()
        self._contracts.look_up(symbols)
        settings = self._connection.settings
        first = SessionGrid(hours, self._timeframe).first_after(after)
        session = LiveSession(self._connection, self._timeframe, symbols, hours, first)
        subscriptions = LiveSubscriptions(
            symbols, self._contracts, self._history, self._timeframe, settings.live_bars, session.is_delayed
        )
        self._listener = LiveListener(session, self._history, subscriptions)
        live = self._live = LiveStream(session, self._listener, self._look_up)
        live.begin()
        return live.slices()

    def end(self) -> None:
        """End what is subscribed to, where a stream was not taken to its end."""
        live, self._live, self._listener = self._live, None, None
        if live is not None:
            live.end()

    def _look_up(self) -> None:
        now = time.monotonic()
        if self.attend is not None and now >= self._attended_at + _ATTENDED_EVERY_SECONDS:
            self._attended_at = now
            self.attend()

    def _hear(self, message: Message) -> None:
        if self._listener is not None:
            self._listener.hear(message)

    async def _join(self, line: "GatewayLine") -> None:
        if self._listener is not None:
            await self._listener.join(line)
