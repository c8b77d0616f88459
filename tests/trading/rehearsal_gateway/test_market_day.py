"""A day of the market: what is played is what is stored, by command or by itself."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from trading.bars import Bar, BarColumns, BarSlice, Timeframe, to_epoch_us
from trading.calendar import TradingCalendar
from trading.errors import ConfigurationError
from trading.rehearsal_gateway.instruments import Instruments
from trading.rehearsal_gateway.market import DayMarket
from trading.rehearsal_gateway.market_clock import MarketClock
from trading.rehearsal_gateway.past_bars import PastBars, nothing

HALF_DAY = date(2025, 11, 28)
CALENDAR = TradingCalendar("XNYS", HALF_DAY)
HOURS = CALENDAR.hours(HALF_DAY)
OPEN = HOURS.opens_at


def at(minute: int, second: int = 0) -> datetime:
    return OPEN + timedelta(minutes=minute, seconds=second)


def bar(minute: int, symbol: str = "SPY") -> Bar:
    price = Decimal(100 + minute)
    return Bar(symbol, at(minute), price, price + 3, price - 2, price + 1, 1_000 + minute)


def stored(bars: list[Bar], timeframe: Timeframe = Timeframe.MINUTE_1) -> PastBars:
    columns = BarColumns.of("SPY", bars)

    def read(symbol: str, start: datetime, end: datetime) -> BarColumns:
        within = (columns.time >= to_epoch_us(start)) & (columns.time < to_epoch_us(end))
        return columns.take(within) if symbol == "SPY" else BarColumns.empty(symbol)

    return PastBars(read, timeframe)


def market_of(past: PastBars, speed: float | None, starts_at: datetime = OPEN) -> DayMarket:
    return DayMarket(Instruments(["SPY", "QQQ"]), past, CALENDAR, HOURS, MarketClock(starts_at, speed))


class Played:
    """A market whose moments are written down."""

    def __init__(self, market: DayMarket) -> None:
        self.market = market
        self.moments: list[tuple[BarSlice, timedelta]] = []
        self.delivered: list[Bar] = []
        market.deliver = self.delivered.append

    def by_command(self, commands: Callable[[DayMarket], "asyncio.Future[None] | object"]) -> None:
        async def run() -> None:
            playing = asyncio.create_task(self.market.run(self._see))
            try:
                await commands(self.market)  # type: ignore[misc]
            finally:
                playing.cancel()

        asyncio.run(run())

    def by_itself(self) -> None:
        self.market.begin()
        asyncio.run(asyncio.wait_for(self.market.run(self._see), timeout=60))

    def _see(self, moment: BarSlice, length: timedelta) -> None:
        # The trading side comes first.
        assert not self.delivered or self.delivered[-1].bar_time < moment.bar_time
        self.moments.append((moment, length))

    @property
    def pieces(self) -> list[Bar]:
        return [bar for moment, _ in self.moments for bar in moment.bars.values()]


def together(pieces: list[Bar], minutes: int) -> Bar:
    """The bar of so many minutes whose pieces these are."""
    assert len(pieces) == 12 * minutes
    first, last = pieces[0], pieces[-1]
    high, low = max(piece.high for piece in pieces), min(piece.low for piece in pieces)
    return replace(first, high=high, low=low, close=last.close, volume=sum(piece.volume or 0 for piece in pieces))


def test_what_is_played_of_a_half_day_is_what_is_stored() -> None:
    day = [bar(minute) for minute in range(210)]
    # One before the open and one after the close are stored too; they are not played.
    outside = [replace(bar(0), bar_time=OPEN - timedelta(minutes=1)), replace(bar(0), bar_time=HOURS.closes_at)]
    played = Played(market_of(stored([*outside, *day]), speed=1e7))
    played.by_itself()
    assert [together(played.pieces[12 * minute : 12 * minute + 12], 1) for minute in range(210)] == day
    assert played.delivered == played.pieces


def test_longer_bars_are_played_in_five_seconds_too() -> None:
    long = [bar(0), bar(30)]
    played = Played(market_of(stored(long, Timeframe.MINUTE_30), speed=1e7))
    played.by_itself()
    assert [together(played.pieces[:360], 30), together(played.pieces[360:], 30)] == long


def test_by_command_the_day_passes_as_far_as_it_is_told_and_nothing_twice() -> None:
    async def commands(market: DayMarket) -> None:
        await market.advance_to(at(0, 7))
        assert market.now() == at(0, 7)
        assert len(played.pieces) == 1
        await market.advance_to(at(1))
        await market.advance_to(at(0))  # has passed
        assert market.now() == at(1)

    played = Played(market_of(stored([bar(0), bar(1)]), speed=None, starts_at=OPEN - timedelta(minutes=5)))
    played.by_command(commands)
    assert together(played.pieces, 1) == bar(0)
    assert played.market.last_price("SPY") == Decimal(101)


def test_a_shown_bar_is_traded_whole_delivered_in_pieces_and_remembered() -> None:
    async def commands(market: DayMarket) -> None:
        await market.show([bar(0), bar(0, "QQQ")])
        await market.show([bar(0), bar(0, "QQQ")])

    played = Played(market_of(PastBars(nothing, Timeframe.MINUTE_1), speed=None))
    played.by_command(commands)
    assert played.moments == [(BarSlice(OPEN, {"SPY": bar(0), "QQQ": bar(0, "QQQ")}), timedelta(minutes=1))]
    assert len(played.delivered) == 24
    assert list(played.market.past.between("QQQ", OPEN, at(5))) == [bar(0, "QQQ")]
    assert played.market.now() == at(1)


@pytest.mark.parametrize(
    ("speed", "bars", "words"),
    [(60.0, [bar(0)], "runs by itself"), (None, [bar(0, "XYZ")], "XYZ"), (None, [bar(0), bar(1, "QQQ")], "one moment")],
)
def test_what_cannot_be_shown_is_refused(speed: float | None, bars: list[Bar], words: str) -> None:
    market = market_of(PastBars(nothing, Timeframe.MINUTE_1), speed)
    with pytest.raises(ConfigurationError, match=words):
        asyncio.run(market.show(bars))


def test_where_a_day_begins_in_its_middle_the_earlier_part_is_known_and_not_played() -> None:
    starts = at(100, 33)
    market = market_of(stored([bar(minute) for minute in range(210)]), 1e7, starts)
    assert market.last_price("SPY") is not None
    known = market.past.known("SPY", OPEN, HOURS.closes_at, market.known_until)
    assert len(known) == 101
    played = Played(market)
    played.by_itself()
    # The first five seconds that begin after the start.
    assert played.pieces[0].bar_time == at(100, 35)
    assert played.pieces[-1].bar_time == HOURS.closes_at - timedelta(seconds=5)


def test_the_newest_price_is_of_the_day_before_until_the_first_trade() -> None:
    yesterday = replace(bar(7), bar_time=CALENDAR.hours(date(2025, 11, 26)).closes_at - timedelta(minutes=1))
    market = market_of(stored([yesterday, bar(0)]), None)
    assert market.last_price("SPY") == yesterday.close
    assert market.last_price("QQQ") is None
    assert market.last_price("XYZ") is None
    assert market.hours(datetime(2025, 11, 27, 15, tzinfo=UTC)) is None
    assert market.hours(OPEN) == HOURS
