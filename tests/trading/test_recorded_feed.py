from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from trading.bars import BarColumns, Timeframe, from_epoch_us, to_epoch_us
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.errors import DataNotFit
from trading.feeds.recorded import RecordedFeed
from trading.sessions import Mode
from trading.trading_hours import TradingHours

DAY = date(2024, 1, 16)
OPEN = datetime(2024, 1, 16, 14, 30, tzinfo=UTC)


class Shelf:
    """Bars in memory as a source: minutes after the open, in the order given."""

    name = "the shelf"

    def __init__(self, minutes: Mapping[str, Sequence[int]]) -> None:
        self._bars = {symbol: bars_at(symbol, several) for symbol, several in minutes.items()}

    def symbols(self) -> tuple[str, ...]:
        return tuple(sorted(self._bars))

    def between(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        bars = self._bars[symbol]
        return bars.take((bars.time >= to_epoch_us(start)) & (bars.time < to_epoch_us(end)))

    def span(self, symbol: str) -> tuple[datetime, datetime] | None:
        bars = self._bars[symbol]
        return (from_epoch_us(bars.time.min()), from_epoch_us(bars.time.max())) if len(bars) else None


def bars_at(symbol: str, minutes: Sequence[int]) -> BarColumns:
    time = to_epoch_us(OPEN) + 60_000_000 * np.array(minutes, dtype=np.int64)
    price = np.full(len(minutes), 10_000_000, dtype=np.int64)
    return BarColumns(symbol, time, price, price, price, price, price)


@pytest.fixture(scope="module")
def hours() -> TradingHours:
    return TradingCalendar("XNYS", DAY).hours(DAY)


def played(
    feed: RecordedFeed, symbols: Sequence[str], hours: TradingHours, after: datetime | None = None
) -> list[tuple[int, dict[str, list[int]]]]:
    """What a feed delivers as (minute, minutes of the rows by symbol)."""

    def minute(moment: datetime) -> int:
        return (moment - OPEN) // timedelta(minutes=1)

    return [
        (
            minute(raw.bar_time),
            {symbol: [minute(from_epoch_us(t)) for t in rows.time] for symbol, rows in raw.rows.items()},
        )
        for raw in feed.stream(symbols, hours, after)
    ]


def test_bars_come_moment_by_moment_and_absent_symbols_are_absent(hours: TradingHours) -> None:
    feed = RecordedFeed(Shelf({"SPY": [0, 1, 3], "QQQ": [1, 2]}), Timeframe.MINUTE_1, BarClock(OPEN))
    assert feed.mode is Mode.RECORDED
    assert played(feed, ["SPY", "QQQ"], hours) == [
        (0, {"SPY": [0]}),
        (1, {"SPY": [1], "QQQ": [1]}),
        (2, {"QQQ": [2]}),
        (3, {"SPY": [3]}),
    ]


def test_a_bar_comes_when_it_is_over_and_not_before(hours: TradingHours) -> None:
    clock = BarClock(OPEN)
    feed = RecordedFeed(Shelf({"SPY": [0, 5]}), Timeframe.MINUTE_5, clock)
    heard = [clock.now() - raw.bar_time for raw in feed.stream(["SPY"], hours, None)]
    assert heard == [timedelta(minutes=5), timedelta(minutes=5)]
    assert clock.now() == OPEN + timedelta(minutes=10)


def test_only_the_sessions_hours_are_delivered(hours: TradingHours) -> None:
    feed = RecordedFeed(Shelf({"SPY": [-30, -1, 0, 389, 390, 400]}), Timeframe.MINUTE_1, BarClock(OPEN))
    assert [minute for minute, _ in played(feed, ["SPY"], hours)] == [0, 389]


def test_a_duplicate_comes_with_its_minute_and_a_late_bar_with_the_one_before_it(hours: TradingHours) -> None:
    feed = RecordedFeed(Shelf({"SPY": [0, 1, 1, 3, 2, 4]}), Timeframe.MINUTE_1, BarClock(OPEN))
    assert played(feed, ["SPY"], hours) == [
        (0, {"SPY": [0]}),
        (1, {"SPY": [1, 1]}),
        (3, {"SPY": [3, 2]}),
        (4, {"SPY": [4]}),
    ]


def test_a_resumed_session_gets_only_later_bars(hours: TradingHours) -> None:
    feed = RecordedFeed(Shelf({"SPY": [0, 1, 2]}), Timeframe.MINUTE_1, BarClock(OPEN))
    assert played(feed, ["SPY"], hours, after=OPEN + timedelta(minutes=1)) == [(2, {"SPY": [2]})]
    assert played(feed, ["SPY"], hours, after=OPEN + timedelta(minutes=2)) == []


def test_an_unknown_symbol_is_refused_with_the_known_ones(hours: TradingHours) -> None:
    feed = RecordedFeed(Shelf({f"S{i}": [0] for i in range(10)}), Timeframe.MINUTE_1, BarClock(OPEN))
    for ask in (lambda: feed.stream(["SPY"], hours, None), lambda: feed.history("SPY", OPEN, OPEN)):
        with pytest.raises(DataNotFit, match=r"No bars of SPY in the shelf. It has S0, S1, .*S7 and 2 more"):
            ask()


def test_a_date_outside_the_data_is_refused_with_the_span_of_the_data(hours: TradingHours) -> None:
    feed = RecordedFeed(Shelf({"SPY": [-1440, 1440 * 2]}), Timeframe.MINUTE_1, BarClock(OPEN))
    with pytest.raises(
        DataNotFit,
        match=r"No bars of SPY in the shelf in the session of 2024-01-16. It has SPY from 2024-01-15 to 2024-01-18",
    ):
        feed.stream(["SPY"], hours, None)


def test_history_is_raw_and_half_open() -> None:
    feed = RecordedFeed(Shelf({"SPY": [2, 1, 1, 0]}), Timeframe.MINUTE_1, BarClock(OPEN))
    history = feed.history("SPY", OPEN, OPEN + timedelta(minutes=2))
    assert history.time.tolist() == bars_at("SPY", [1, 1, 0]).time.tolist()
