"""What an unmodified client of Interactive Brokers reads when it asks for data, over TCP."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from ib_insync import IB, Contract, Stock

from trading.bars import Bar, BarColumns, Timeframe, to_epoch_us
from trading.calendar import TradingCalendar
from trading.rehearsal_gateway.gateway_settings import GatewaySettings
from trading.rehearsal_gateway.instruments import Instruments
from trading.rehearsal_gateway.market import DayMarket
from trading.rehearsal_gateway.market_clock import MarketClock
from trading.rehearsal_gateway.market_data import MarketDataDesk
from trading.rehearsal_gateway.market_port import DeliveredBar
from trading.rehearsal_gateway.past_bars import PastBars
from trading.rehearsal_gateway.server import RehearsalGateway
from trading.rehearsal_gateway.wire_times import WireTimes

DAY = date(2026, 1, 5)
CALENDAR = TradingCalendar("XNYS", DAY)
HOURS = CALENDAR.hours(DAY)
OPEN = HOURS.opens_at
SPY = Stock("SPY", "SMART", "USD")
PATIENCE = 20.0


def minute(number: int, symbol: str = "SPY", volume: int = 1200) -> Bar:
    """The session's minute of this number: it rises from 100 dollars plus a cent for each minute by ten cents."""
    opened = Decimal(100) + Decimal(number) / 100
    low, high, closed = opened - Decimal("0.02"), opened + Decimal("0.12"), opened + Decimal("0.10")
    return Bar(symbol, OPEN + timedelta(minutes=number), opened, high, low, closed, volume)


def yesterday(symbol: str, start: datetime, end: datetime) -> BarColumns:
    """Friday's last two minutes, in every symbol."""
    closes_at = CALENDAR.hours(date(2026, 1, 2)).closes_at
    bars = [replace(minute(number, symbol), bar_time=closes_at - timedelta(minutes=2 - number)) for number in range(2)]
    columns = BarColumns.of(symbol, bars)
    return columns.take((columns.time >= to_epoch_us(start)) & (columns.time < to_epoch_us(end)))


@dataclass
class Floor:
    """A market that is shown bars by hand, its gateway, and one client of it."""

    market: DayMarket
    data: MarketDataDesk
    gateway: RehearsalGateway
    ib: IB
    errors: list[tuple[int, int, str]] = field(default_factory=list)

    async def show(self, *bars: Bar) -> None:
        await self.market.show(bars)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Until what was written has been read."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)

    async def error_of(self, code: int) -> str:
        await self.until(lambda: any(number == code for _, number, _ in self.errors))
        return next(text for _, number, text in self.errors if number == code)


@contextlib.asynccontextmanager
async def floor(
    symbols: Sequence[str] = ("SPY", "QQQ"), ambiguous: Sequence[str] = (), style: str = "", **desk: Any
) -> AsyncIterator[Floor]:
    market = DayMarket(
        Instruments(symbols, ambiguous=ambiguous),
        PastBars(yesterday, Timeframe.MINUTE_1),
        CALENDAR,
        HOURS,
        MarketClock(OPEN - timedelta(minutes=5), None),
    )
    data = MarketDataDesk(market, WireTimes(HOURS.zone, style), **{"is_paced": False, **desk})
    gateway = RehearsalGateway(market, GatewaySettings(), data)
    await gateway.start()
    playing = asyncio.create_task(gateway.play())
    ib = IB()
    try:
        await ib.connectAsync("127.0.0.1", gateway.port, clientId=1, timeout=PATIENCE)
        there = Floor(market, data, gateway, ib)
        ib.errorEvent += lambda request, code, text, _contract: there.errors.append((request, code, text))
        yield there
    finally:
        ib.disconnect()
        playing.cancel()
        await gateway.stop()


def rehearsed(test: Callable[[Floor], Awaitable[None]], **market: Any) -> None:
    async def run() -> None:
        async with floor(**market) as there:
            await test(there)

    asyncio.run(run())


def test_a_contract_is_qualified_and_tells_its_hours() -> None:
    async def ask(there: Floor) -> None:
        contract = Stock("SPY", "SMART", "USD")
        assert await there.ib.qualifyContractsAsync(contract) == [contract]
        assert (contract.conId, contract.primaryExchange) == (643_430_211, "ARCA")
        [details] = await there.ib.reqContractDetailsAsync(Contract(conId=contract.conId))
        assert details.contract is not None
        assert details.contract.symbol == "SPY"
        assert (details.minTick, details.timeZoneId, details.stockType) == (0.01, "US/Eastern", "ETF")
        assert details.liquidHours.startswith("20260105:0930-20260105:1600;20260106:0930-")
        assert details.tradingHours.endswith(";20260110:CLOSED")
        assert details.validExchanges == "SMART,ARCA,IBKRATS"
        [step] = await there.ib.reqMarketRuleAsync(int(details.marketRuleIds.split(",")[0])) or []
        assert (step.lowEdge, step.increment) == (0.0, 0.01)
        assert details.minSize == 1.0

    rehearsed(ask)


def test_older_and_newer_clients_read_the_same_details() -> None:
    """Fields came and went with versions 163, 164 and 176."""

    async def ask(there: Floor) -> None:
        for number, version in enumerate((157, 162, 163, 164, 175, 176)):
            older = IB()
            older.client.MaxClientVersion = version
            await older.connectAsync("127.0.0.1", there.gateway.port, clientId=10 + number, timeout=PATIENCE)
            assert older.client.serverVersion() == version
            [details] = await older.reqContractDetailsAsync(SPY)
            assert (details.longName, details.stockType) == ("SPY ETF (REHEARSAL)", "ETF")
            [found] = await older.reqMatchingSymbolsAsync("sp") or []
            assert found.contract is not None
            assert found.contract.symbol == "SPY"
            older.disconnect()

    rehearsed(ask)


def test_an_unknown_and_an_ambiguous_contract_are_told_as_error_200() -> None:
    async def ask(there: Floor) -> None:
        assert await there.ib.reqContractDetailsAsync(Stock("NONE", "SMART", "USD")) == []
        assert "No security definition" in await there.error_of(200)
        there.errors.clear()
        assert len(await there.ib.reqContractDetailsAsync(Stock("ABC", "SMART", "USD"))) == 2
        await there.ib.reqHistoricalDataAsync(Stock("ABC", "SMART", "USD"), "", "1 D", "1 min", "TRADES", True)
        assert "ambiguous" in await there.error_of(200)
        exact = Stock("ABC", "SMART", "USD", primaryExchange="NASDAQ")
        assert len(await there.ib.reqContractDetailsAsync(exact)) == 1

    rehearsed(ask, symbols=("SPY", "ABC"), ambiguous=("ABC",))


def test_past_bars_are_those_of_the_market_in_both_formats_of_dates() -> None:
    async def ask(there: Floor) -> None:
        await there.show(minute(0))
        for date_format in (1, 2):
            bars = await there.ib.reqHistoricalDataAsync(SPY, "", "2 D", "1 min", "TRADES", True, date_format)
            assert [bar.date.astimezone(UTC) for bar in bars] == [
                OPEN - timedelta(hours=65, minutes=32 - number) for number in (0, 1)
            ] + [OPEN]
            assert (bars[-1].open, bars[-1].high, bars[-1].low, bars[-1].close) == (100.0, 100.12, 99.98, 100.1)
            assert (bars[-1].volume, bars[-1].barCount) == (1200.0, 12)
        [friday, today] = await there.ib.reqHistoricalDataAsync(SPY, "", "2 D", "1 day", "TRADES", True)
        assert (friday.date, today.date) == (date(2026, 1, 2), DAY)

    rehearsed(ask)


def test_times_can_be_written_without_a_zone_and_in_utc() -> None:
    async def ask(there: Floor, hour: int) -> None:
        [*_, last] = await there.ib.reqHistoricalDataAsync(SPY, "", "1 D", "1 min", "TRADES", True)
        # Neither says its zone: that is the trap.
        assert last.date == datetime(2026, 1, 2, hour, 59)  # noqa: DTZ001

    rehearsed(lambda there: ask(there, 15), style="none")
    rehearsed(lambda there: ask(there, 20), style="UTC")


def test_the_schedule_of_sessions() -> None:
    async def ask(there: Floor) -> None:
        schedule = await there.ib.reqHistoricalScheduleAsync(SPY, 2)
        assert [session.refDate for session in schedule.sessions] == ["20251231", "20260102"]
        assert schedule.timeZone == "US/Eastern"

    rehearsed(ask)


def test_no_data_bad_input_and_pacing_are_told_apart() -> None:
    async def ask(there: Floor) -> None:
        async def history(end: str = "", size: str = "1 min") -> list[Any]:
            return list(await there.ib.reqHistoricalDataAsync(SPY, end, "1 D", size, "TRADES", True))

        assert await history("20251222 16:00:00 US/Eastern") == []
        assert "HMDS query returned no data: SPY@SMART Trades" in await there.error_of(162)
        there.errors.clear()
        assert await history(size="7 mins") == []
        assert "bar size" in await there.error_of(321)
        assert len(await history()) == 2
        assert await history() == []
        assert "pacing violation" in await there.error_of(162)

    rehearsed(ask, is_paced=True)


def test_bars_of_five_seconds_come_when_they_are_over_and_stop_when_cancelled() -> None:
    async def ask(there: Floor) -> None:
        bars = there.ib.reqRealTimeBars(SPY, 5, "TRADES", True)
        await there.ib.reqCurrentTimeAsync()  # the subscription has been read
        await there.show(minute(0), minute(0, "QQQ"))
        await there.until(lambda: len(bars) == 12)
        assert [bar.time for bar in bars] == [OPEN + timedelta(seconds=5 * piece) for piece in range(12)]
        assert (bars[0].open_, bars[-1].close) == (100.0, 100.1)
        assert (max(bar.high for bar in bars), min(bar.low for bar in bars)) == (100.12, 99.98)
        assert sum(bar.volume for bar in bars) == 1200
        there.ib.cancelRealTimeBars(bars)
        await there.ib.reqCurrentTimeAsync()
        await there.show(minute(1))
        await there.ib.reqCurrentTimeAsync()
        assert len(bars) == 12
        there.ib.client.cancelRealTimeBars(999)
        assert "999" in await there.error_of(300)
        there.ib.reqRealTimeBars(SPY, 10, "TRADES", True)
        assert "10 seconds" in await there.error_of(321)

    rehearsed(ask)


def test_bars_are_kept_up_to_date_until_they_are_cancelled() -> None:
    async def ask(there: Floor) -> None:
        await there.show(minute(0))
        bars = await there.ib.reqHistoricalDataAsync(SPY, "", "1 D", "2 mins", "TRADES", True, keepUpToDate=True)
        assert len(bars) == 1
        await there.show(minute(1))
        await there.until(lambda: bars[-1].volume == 2400)
        [both] = bars
        assert (both.open, both.high, both.low, both.close) == (100.0, 100.13, 99.98, 100.11)
        await there.show(minute(2))
        await there.until(lambda: len(bars) == 2 and bars[-1].volume == 1200)
        assert bars[-1].open == 100.02
        there.ib.cancelHistoricalData(bars)
        assert "query cancelled" in await there.error_of(162)
        await there.show(minute(3))
        await there.ib.reqCurrentTimeAsync()
        assert bars[-1].volume == 1200
        there.ib.client.cancelHistoricalData(999)
        assert "999" in await there.error_of(366)

    rehearsed(ask)


def test_quotes_follow_the_bars() -> None:
    async def ask(there: Floor) -> None:
        [snapshot] = await there.ib.reqTickersAsync(SPY)
        assert (snapshot.last, snapshot.close) == (100.11, 100.11)
        ticker = there.ib.reqMktData(SPY)
        await there.ib.reqCurrentTimeAsync()
        await there.show(minute(0))
        await there.until(lambda: ticker.volume == 1200)
        assert (ticker.bid, ticker.last, ticker.ask) == (100.09, 100.1, 100.11)
        assert (ticker.open, ticker.high, ticker.low, ticker.close) == (100.0, 100.12, 99.98, 100.11)
        there.ib.cancelMktData(SPY)
        there.ib.reqMktData(SPY, "233")
        assert "233" in await there.error_of(321)

    rehearsed(ask)


def test_without_a_subscription_there_is_delayed_data_or_none() -> None:
    async def ask(there: Floor) -> None:
        for number in range(16):
            await there.show(minute(number))
        there.ib.reqMktData(SPY)
        assert "not subscribed" in await there.error_of(354)
        there.ib.cancelMktData(SPY)
        there.ib.reqMarketDataType(3)
        ticker = there.ib.reqMktData(SPY)
        assert "Displaying delayed" in await there.error_of(10167)
        # A quarter of an hour ago the first minute was over.
        await there.until(lambda: ticker.volume == 1200)
        assert (ticker.last, ticker.marketDataType) == (100.1, 3)
        there.ib.reqRealTimeBars(SPY, 5, "TRADES", True)
        assert "ARCA STK" in await there.error_of(420)
        assert not await there.ib.reqHistoricalDataAsync(SPY, "", "1 D", "1 min", "TRADES", True)
        assert "No market data permissions for ARCA STK" in await there.error_of(162)

    rehearsed(ask, without_subscription=("SPY",))


def test_faults_stand_between_the_market_and_the_client() -> None:
    async def ask(there: Floor) -> None:
        def broken(bar: DeliveredBar, _stream: str) -> list[DeliveredBar]:
            if bar.time == OPEN:
                return [bar, bar]
            return [replace(bar, close=math.nan)] if bar.time == OPEN + timedelta(seconds=5) else []

        there.data.use_faults(broken)
        bars = there.ib.reqRealTimeBars(SPY, 5, "TRADES", True)
        await there.ib.reqCurrentTimeAsync()
        await there.show(minute(0))
        await there.until(lambda: len(bars) == 3)
        assert bars[0].time == bars[1].time == OPEN
        assert math.isnan(bars[2].close)
        # What the market knows is as it was.
        [*_, whole] = await there.ib.reqHistoricalDataAsync(SPY, "", "1 D", "1 min", "TRADES", True)
        assert whole.close == 100.1

    rehearsed(ask)


def test_a_client_that_has_gone_is_sent_nothing_and_another_is() -> None:
    async def ask(there: Floor) -> None:
        other = IB()
        await other.connectAsync("127.0.0.1", there.gateway.port, clientId=2, timeout=PATIENCE)
        bars = [ib.reqRealTimeBars(SPY, 5, "TRADES", True) for ib in (there.ib, other)]
        await asyncio.gather(there.ib.reqCurrentTimeAsync(), other.reqCurrentTimeAsync())
        other.disconnect()
        await there.until(lambda: len(there.gateway.clients) == 1)
        await there.show(minute(0))
        await there.until(lambda: len(bars[0]) == 12)
        assert len(bars[1]) == 0

    rehearsed(ask)


def test_a_day_is_played_in_order_by_its_own_clock() -> None:
    """The last three minutes, from bars of the market's own: the session ends, and time goes on."""
    closes_at = HOURS.closes_at
    stored = [replace(minute(number), bar_time=closes_at - timedelta(minutes=3 - number)) for number in (0, 2)]

    def read(symbol: str, start: datetime, end: datetime) -> BarColumns:
        columns = BarColumns.of(symbol, stored if symbol == "SPY" else [])
        return columns.take((columns.time >= to_epoch_us(start)) & (columns.time < to_epoch_us(end)))

    async def play() -> None:
        clock = MarketClock(closes_at - timedelta(minutes=3), 6_000.0)
        market = DayMarket(Instruments(["SPY"]), PastBars(read, Timeframe.MINUTE_1), CALENDAR, HOURS, clock)
        seen: list[tuple[datetime, int, datetime]] = []
        market.begin()
        async with asyncio.timeout(PATIENCE):
            await market.run(lambda moment, _length: seen.append((moment.bar_time, len(moment.bars), market.now())))
        assert market.now() == closes_at + timedelta(minutes=30)
        # Every five seconds to the end, with bars where there are any, each at the moment at which it is over.
        assert [at for at, _, _ in seen] == [closes_at + timedelta(seconds=5 * piece) for piece in range(-36, 360)]
        assert [count for _, count, _ in seen[:36]] == [1] * 12 + [0] * 12 + [1] * 12
        assert not any(count for _, count, _ in seen[36:])
        assert all(now == at + timedelta(seconds=5) for at, _, now in seen)
        assert market.last_price("SPY") == stored[-1].close

    asyncio.run(play())
