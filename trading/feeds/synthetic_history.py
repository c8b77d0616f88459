"""The invented market as bars at rest, over as many years as are asked for."""

from datetime import date, datetime, timedelta

from trading.bars import BarColumns, Timeframe
from trading.calendar import TradingCalendar
from trading.feeds.synthetic import SyntheticFeed
from trading.ports import Clock
from trading.settings import SyntheticSettings


class SyntheticHistory:
    """Implements ``trading.ports.BarSource``: every symbol exists, on every session of the exchange."""

    def __init__(self, settings: SyntheticSettings, exchange: str, timeframe: Timeframe, clock: Clock) -> None:
        self._settings = settings
        self._exchange = exchange
        self._timeframe = timeframe
        self._clock = clock

    @property
    def name(self) -> str:
        """What a person calls it, for messages."""
        return f"the synthetic market of seed {self._settings.seed}"

    def symbols(self) -> tuple[str, ...]:
        """None by name: all symbols are invented when they are asked for."""
        return ()

    def between(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        """Bars whose open lies in ``[start, end)``, oldest first."""
        bars = BarColumns.empty(symbol)
        while start < end:
            # A calendar knows about a year on either side: each year asks its own.
            until = min(
                end, start.replace(year=start.year + 1, month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
            )
            calendar = TradingCalendar(self._exchange, date(start.year, 7, 1))
            feed = SyntheticFeed(self._settings, calendar, self._timeframe, self._clock)
            bars = bars.joined(feed.history(symbol, start, until))
            start = until
        return bars

    def span(self, symbol: str) -> tuple[datetime, datetime] | None:
        """The first session that is traded where nobody names one, as if the market began there; its end is open."""
        del symbol
        calendar = TradingCalendar(self._exchange, self._settings.first_date)
        first = self._settings.first_date
        hours = calendar.hours(first if calendar.is_session(first) else calendar.next_session_date(first))
        return hours.opens_at, hours.closes_at - timedelta(microseconds=1)
