"""What both threads know of a live session: the broker's, which hears, and the trading one, which waits."""

from collections.abc import Sequence
from datetime import timedelta
from threading import Condition

from trading.bars import Timeframe, to_epoch_us
from trading.errors import OpenbellError
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.live_minutes import SessionGrid
from trading.interactive_brokers.live_symbol import LiveSymbol
from trading.trading_hours import TradingHours

LEAST_WAIT_SECONDS = 0.25
"""Of the wall: so long is waited for the other symbols in any case, however fast the session's time goes."""
_DELAY_US = timedelta(minutes=20) // timedelta(microseconds=1)
"""How old delayed data are at most."""
_NEWS_MISSED_US = 4_000_000
_AHEAD_US, _AHEAD_WALL_US = 60_000_000, 3_000_000


class LiveSession:
    """Everything that changes in it changes while ``changed`` is held, and is then notified. Times in microseconds."""

    def __init__(
        self,
        connection: GatewayConnection,
        timeframe: Timeframe,
        symbols: Sequence[str],
        hours: TradingHours,
        first: int,
    ) -> None:
        settings = connection.settings
        self.connection = connection
        self.grid = SessionGrid(hours, timeframe)
        self.first = first
        self.symbols = {symbol: LiveSymbol(symbol, self.grid, first) for symbol in symbols}
        self.changed = Condition()
        self.server_us = 0
        """The server's time as surely known: it was told, or a bar that came was over."""
        self.is_delayed = settings.market_data == "delayed"
        self.delay_us = _DELAY_US if self.is_delayed else 0
        self.late_us = round(float(settings.late_bar_seconds) * 1e6)
        self.answer_seconds = float(settings.answer_timeout_seconds)
        self.refusal: OpenbellError | None = None
        """Why the broker gives no live bars at all."""
        self.is_delivering = False
        """Whether a moment was handed out: what is refused from then on ends the session no more."""

    def clock_us(self) -> int:
        """The session's time as far as the clock can tell; 0 before it knows any."""
        clock = self.connection.clock
        return to_epoch_us(clock.now()) if clock.is_known else 0

    def missed_us(self) -> int:
        """How long before its end the news of a growing bar may have stopped. They come every five seconds; where the session's time
        runs faster than a clock can tell, nobody can say."""
        return max(_NEWS_MISSED_US, round(LEAST_WAIT_SECONDS * 1e6 * self.connection.clock.rate))

    def is_from_the_future(self, moment_us: int) -> bool:
        """Whether a bar that is over at ``moment_us`` is so far ahead of the clock that the server has to be asked for its time: one
        wrong bar must not end a session."""
        believed_us = max(_AHEAD_US, round(_AHEAD_WALL_US * self.connection.clock.rate))
        return moment_us > self.clock_us() + believed_us

    def wall_seconds(self, session_us: int) -> float:
        """How long so much of the session's time takes."""
        return session_us / 1e6 / max(self.connection.clock.rate, 0.01)
