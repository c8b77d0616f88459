"""The market of one day: its time, and its bars five seconds at a time.

Everything that happens does so at the end of five seconds, in this order: time has come there, the trading side sees the bars, and
then those who asked for data. Nobody can see a bar, or a time, whose trades are still to come.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from trading.bars import Bar, BarColumns, BarSlice
from trading.calendar import TradingCalendar
from trading.errors import ClosedDay, ConfigurationError
from trading.rehearsal_gateway.bar_requests import sessions_until
from trading.rehearsal_gateway.five_second_bars import FIVE_SECONDS, cut_bar
from trading.rehearsal_gateway.instruments import Instruments, Listing
from trading.rehearsal_gateway.market_clock import MarketClock
from trading.rehearsal_gateway.market_port import OnSlice
from trading.rehearsal_gateway.past_bars import PastBars
from trading.trading_hours import TradingHours

GOES_ON_AFTER_CLOSE = timedelta(minutes=30)
"""How long time goes on after the close, before it stands still."""


class DayMarket:
    """Plays the bars of ``day`` by ``clock``; where that is stepped, by ``show`` and ``advance_to``.

    Implements ``trading.rehearsal_gateway.market_port.Market``.
    """

    def __init__(
        self, instruments: Instruments, past: PastBars, calendar: TradingCalendar, day: TradingHours, clock: MarketClock
    ) -> None:
        self.instruments = instruments
        self.past = past
        self.calendar = calendar
        self.day = day
        self.clock = clock
        self.ends_at = max(day.closes_at + GOES_ON_AFTER_CLOSE, clock.now())
        if not clock.is_stepped:
            # Nothing passes before it is played.
            clock.hold_at(clock.now())
        self.deliver: Callable[[Bar], None] | None = None
        """Told each bar of five seconds after the trading side."""
        self._last: dict[str, Decimal] = {}
        self._days: dict[str, Mapping[datetime, Bar]] = {}
        self._on_slice: OnSlice | None = None
        self._played_until = clock.now()
        self._is_played = asyncio.Event()

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols that can be traded."""
        return self.instruments.symbols

    @property
    def exchange_zone(self) -> ZoneInfo:
        """The zone of the exchange's wall clock."""
        return self.day.zone

    def now(self) -> datetime:
        """The market's time."""
        return self.clock.now()

    @property
    def known_until(self) -> datetime:
        """Bars that ended at this moment or earlier have been shown; the market's time is at most five seconds later."""
        return self._played_until

    def hours(self, now: datetime) -> TradingHours | None:
        """The session of the exchange date of ``now``; None where there is none."""
        try:
            return self.calendar.hours(self.calendar.exchange_date(now))
        except ClosedDay:
            return None

    def instrument(self, symbol: str) -> Listing | None:
        """The listing whose bars are played."""
        return self.instruments.of(symbol)

    def instrument_of(self, con_id: int) -> Listing | None:
        """The listing under this contract id."""
        return self.instruments.with_id(con_id)

    def last_price(self, symbol: str) -> Decimal | None:
        """The close of the newest bar that is known, of an earlier session where today has had none."""
        if symbol not in self._last and symbol in self.symbols:
            until = self.known_until
            [*_, earlier, latest] = sessions_until(until, 2, self.calendar)
            for start, end in ((latest.opens_at, until), (earlier.opens_at, latest.opens_at)):
                known = self.past.known(symbol, start, end, until)
                if len(known):
                    self._last[symbol] = known.bar(len(known) - 1).close
                    break
        return self._last.get(symbol)

    # Time that passes by itself

    async def run(self, on_slice: OnSlice) -> None:
        """Play until the end; a stepped market is played by its commands until it is cancelled."""
        self._on_slice = on_slice
        self._is_played.set()
        if self.clock.is_stepped:
            await asyncio.Event().wait()
        for moment in self._moments(self.ends_at):
            ends = moment.bar_time + FIVE_SECONDS
            self.clock.hold_at(ends)
            await self.clock.wait_until(ends)
            await self._play(moment, FIVE_SECONDS, ends)
        self.clock.hold_at(self.ends_at)

    def begin(self) -> None:
        """Let time run, where it waits for that."""
        self.clock.begin()

    def _moments(self, until: datetime) -> Iterator[BarSlice]:
        """What has not been played of every five seconds that end by ``until``, empty ones too."""
        begins = self._played_until + (self.day.opens_at - self._played_until) % FIVE_SECONDS
        base = begins - (begins - self.day.opens_at) % self.past.timeframe.length
        while begins + FIVE_SECONDS <= until:
            slices = self._slices_of(base)
            for moment in slices:
                if begins <= moment.bar_time and moment.bar_time + FIVE_SECONDS <= until:
                    yield moment
            base += len(slices) * FIVE_SECONDS
            begins = max(begins, base)

    def _slices_of(self, begins: datetime) -> list[BarSlice]:
        """Every five seconds of the time of one stored bar. What is stored outside the exchange's hours is not played."""
        length = self.past.timeframe.length
        cut: dict[str, tuple[Bar, ...]] = {}
        if self.day.opens_at <= begins < self.day.closes_at:
            length = min(length, self.day.closes_at - begins)
            for symbol in self.symbols:
                bars = self._of_today(symbol)
                bar = bars.get(begins)
                if bar is not None:
                    cut[symbol] = cut_bar(bar, length)
        return [
            BarSlice(begins + place * FIVE_SECONDS, {symbol: pieces[place] for symbol, pieces in cut.items()})
            for place in range(length // FIVE_SECONDS)
        ]

    def _of_today(self, symbol: str) -> Mapping[datetime, Bar]:
        known = self._days.get(symbol)
        if known is None:
            columns: BarColumns = self.past.between(symbol, self.day.opens_at, self.day.closes_at)
            known = self._days[symbol] = {bar.bar_time: bar for bar in columns}
        return known

    # Time that passes by command

    async def show(self, bars: Iterable[Bar], length: timedelta = timedelta(minutes=1)) -> None:
        """Trade bars of one moment that last ``length``: time is then their end. What has been shown before does nothing again.

        Raises ``ConfigurationError`` where time runs by itself, for symbols that are not traded, and for bars of several moments.
        """
        self._check_stepped()
        shown = {bar.symbol: bar for bar in bars}
        unknown = sorted(set(shown) - set(self.symbols))
        if unknown:
            raise ConfigurationError(
                f"{', '.join(unknown)} cannot be traded here. Start the gateway with --symbols that name it."
            )
        if len({bar.bar_time for bar in shown.values()}) != 1:
            raise ConfigurationError("Bars that are shown together begin at one moment.")
        begins = next(iter(shown.values())).bar_time
        ends = begins + length
        if ends <= self._played_until:
            return
        self.clock.move_to(ends)
        self.past.show(shown.values())
        await self._play(BarSlice(begins, shown), length, ends)

    async def advance_to(self, moment: datetime) -> None:
        """Let time pass, and trade the bars of that time which the market has of its own.

        Raises ``ConfigurationError`` where time runs by itself.
        """
        self._check_stepped()
        for played in self._moments(moment):
            ends = played.bar_time + FIVE_SECONDS
            self.clock.move_to(ends)
            await self._play(played, FIVE_SECONDS, ends)
        self.clock.move_to(moment)
        now = self.clock.now()
        await self._play(BarSlice(now, {}), timedelta(), now)

    def _check_stepped(self) -> None:
        if not self.clock.is_stepped:
            raise ConfigurationError("Time runs by itself here. Start the gateway with a stepped clock to move it.")

    async def _play(self, moment: BarSlice, length: timedelta, ends: datetime) -> None:
        await self._is_played.wait()
        if length:
            self._played_until = max(self._played_until, ends)
        self._last |= {symbol: bar.close for symbol, bar in moment.bars.items()}
        if self._on_slice is not None:
            told = self._on_slice(moment, length)
            if isinstance(told, Awaitable):
                await told
        if self.deliver is not None:
            for bar in moment.bars.values():
                for piece in (bar,) if length == FIVE_SECONDS else cut_bar(bar, length):
                    self.deliver(piece)
