from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from trading.bar_validation import BarsRefused
from trading.bars import Bar, BarColumns, BarSlice, Column, RawSlice, Timeframe, from_epoch_us, to_epoch_us
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.decisions import DataFinding
from trading.errors import ConfigurationError, DataNotFit
from trading.feeds.synthetic import SyntheticFeed
from trading.live_data_loader import LiveDataLoader
from trading.market_window import HistoryWindow, LiveWindow
from trading.sessions import Mode
from trading.settings import SyntheticSettings, ValidationSettings
from trading.trading_hours import TradingHours

CALENDAR = TradingCalendar("XNYS", date(2024, 6, 3))
MINUTE = timedelta(minutes=1)
# Monday 15 January 2024 was a holiday: the session before this Tuesday is Friday the 12th.
TUESDAY = CALENDAR.hours(date(2024, 1, 16))
FRIDAY = CALENDAR.hours(date(2024, 1, 12))


class Tape:
    """A feed of given bars of one symbol; what was asked of its history is written down."""

    mode = Mode.RECORDED

    def __init__(self, times: Sequence[datetime], prices: Sequence[int] | None = None) -> None:
        price = np.array([100] * len(times) if prices is None else prices, dtype=np.int64) * 1_000_000
        time = np.array([to_epoch_us(moment) for moment in times], dtype=np.int64)
        self._bars = BarColumns("SPY", time, price, price, price, price, np.full(len(times), 10, dtype=np.int64))
        self.asked: list[tuple[datetime, datetime]] = []

    def history(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        assert symbol == "SPY"
        self.asked.append((start, end))
        return self._bars.take((self._bars.time >= to_epoch_us(start)) & (self._bars.time < to_epoch_us(end)))

    def stream(self, symbols: Sequence[str], hours: TradingHours, after: datetime | None) -> Iterator[RawSlice]:
        assert (symbols, after) == (["SPY"], None)
        assert hours is TUESDAY
        for row in range(len(self._bars)):
            one = self._bars.take(slice(row, row + 1))
            yield RawSlice(from_epoch_us(int(one.time[0])), {"SPY": one})


def minutes(hours: TradingHours, *which: range) -> list[datetime]:
    return [hours.opens_at + minute * MINUTE for several in which for minute in several]


def loader(
    feed: Tape | SyntheticFeed | None = None, timeframe: Timeframe = Timeframe.MINUTE_1, **actions: str | int
) -> LiveDataLoader:
    settings = ValidationSettings.model_validate(actions)
    return LiveDataLoader(feed or Tape([]), CALENDAR, timeframe, settings)


def synthetic(**changes: float) -> SyntheticFeed:
    settings = SyntheticSettings.model_validate(changes)
    return SyntheticFeed(settings, CALENDAR, Timeframe.MINUTE_1, BarClock(TUESDAY.opens_at))


def kinds(findings: Sequence[DataFinding]) -> Counter[str]:
    return Counter(finding.finding for finding in findings)


def test_at_the_open_after_a_holiday_weekend_the_warmup_is_fridays_last_bars() -> None:
    duration = loader().calculate_duration_for_warmup(50, TUESDAY)
    # Friday's close less 50 minutes is 15:10 in New York: 20:10 UTC.
    assert TUESDAY.opens_at - duration == datetime(2024, 1, 12, 20, 10, tzinfo=UTC)


def test_a_half_day_gives_210_bars_and_the_rest_comes_from_the_day_before() -> None:
    # Monday 2 December 2024; Friday 29 November closed at 13:00, Thursday was Thanksgiving.
    hours = CALENDAR.hours(date(2024, 12, 2))
    wednesday = CALENDAR.hours(date(2024, 11, 27))
    start = hours.opens_at - loader().calculate_duration_for_warmup(250, hours)
    assert start == wednesday.closes_at - 40 * MINUTE


def test_the_warmup_reaches_over_the_change_of_the_clocks() -> None:
    # Monday 11 March 2024 opens at 13:30 UTC, Friday the 8th closed at 21:00 UTC.
    hours = CALENDAR.hours(date(2024, 3, 11))
    duration = loader().calculate_duration_for_warmup(1, hours)
    assert duration == timedelta(days=2, hours=16, minutes=31)


def test_a_resumed_session_counts_todays_bars_first() -> None:
    until = TUESDAY.opens_at + 30 * MINUTE
    assert loader().calculate_duration_for_warmup(30, TUESDAY, until) == 30 * MINUTE
    start = until - loader().calculate_duration_for_warmup(31, TUESDAY, until)
    assert start == FRIDAY.closes_at - MINUTE


def test_longer_bars_reach_further() -> None:
    # A session has 13 half hours; 14 of them begin with the last one of Thursday.
    start = TUESDAY.opens_at - loader(timeframe=Timeframe.MINUTE_30).calculate_duration_for_warmup(14, TUESDAY)
    assert start == CALENDAR.hours(date(2024, 1, 11)).closes_at - timedelta(minutes=30)


def test_no_bars_need_no_time_and_too_many_are_refused() -> None:
    assert loader().calculate_duration_for_warmup(0, TUESDAY) == timedelta(0)
    with pytest.raises(ConfigurationError, match="1000000 bars of 1min is longer than 250 sessions"):
        loader().calculate_duration_for_warmup(1_000_000, TUESDAY)


def test_warmup_bars_are_the_last_ones_of_regular_hours() -> None:
    early, late = FRIDAY.opens_at - 5 * MINUTE, FRIDAY.closes_at
    feed = Tape([early, *minutes(FRIDAY, range(390)), late, TUESDAY.opens_at - MINUTE, TUESDAY.opens_at])
    bars = loader(feed).load_warmup_data(["SPY"], 50, TUESDAY)["SPY"]
    assert bars.time.tolist() == [to_epoch_us(moment) for moment in minutes(FRIDAY, range(340, 390))]


def test_a_resumed_session_is_warmed_with_todays_bars_too() -> None:
    feed = Tape(minutes(FRIDAY, range(390)) + minutes(TUESDAY, range(60)))
    until = TUESDAY.opens_at + 20 * MINUTE
    bars = loader(feed).load_warmup_data(["SPY"], 30, TUESDAY, until)["SPY"]
    assert bars.time.tolist() == [
        to_epoch_us(moment) for moment in minutes(FRIDAY, range(380, 390)) + minutes(TUESDAY, range(20))
    ]


def test_holes_make_the_warmup_reach_further_back() -> None:
    # Friday has 20 of its last 50 minutes only; the other 30 come from before.
    feed = Tape(minutes(FRIDAY, range(100), range(340, 360)))
    bars = loader(feed).load_warmup_data(["SPY"], 50, TUESDAY)["SPY"]
    assert bars.time.tolist() == [to_epoch_us(moment) for moment in minutes(FRIDAY, range(70, 100), range(340, 360))]


def test_bars_that_will_be_dropped_do_not_count_but_are_there_to_be_judged() -> None:
    prices = [100] * 390
    prices[380] = 0
    warming = loader(Tape(minutes(FRIDAY, range(390)), prices))
    raw = warming.load_warmup_data(["SPY"], 50, TUESDAY)
    assert len(raw["SPY"]) == 51
    clean, findings = warming.validate_data(raw, 50, TUESDAY)
    assert len(clean["SPY"]) == 50
    assert kinds(findings) == {"non_positive_price": 1}


def test_the_search_for_more_bars_ends_after_fifteen_more_sessions() -> None:
    feed = Tape(minutes(FRIDAY, range(380, 390)))
    assert len(loader(feed).load_warmup_data(["SPY"], 50, TUESDAY)["SPY"]) == 10
    # Friday itself and the 15 sessions before it; Christmas and New Year lie between.
    assert min(start for start, _ in feed.asked) == CALENDAR.sessions_before(FRIDAY.session_date, 15)[0].opens_at
    assert len(feed.asked) == 5


def test_no_span_of_history_is_asked_for_twice() -> None:
    feed = Tape([])
    loader(feed).load_warmup_data(["SPY"], 50, TUESDAY)
    starts, ends = zip(*feed.asked, strict=True)
    assert ends == (TUESDAY.opens_at, *starts[:-1])


def warmed(feed: Tape, bars_needed: int = 50, **actions: str | int) -> tuple[LiveDataLoader, BarColumns, Counter[str]]:
    warming = loader(feed, **actions)
    clean, findings = warming.validate_data(
        warming.load_warmup_data(["SPY"], bars_needed, TUESDAY), bars_needed, TUESDAY
    )
    return warming, clean["SPY"], kinds(findings)


def test_a_full_warmup_has_nothing_to_report_and_fills_the_window() -> None:
    warming, clean, found = warmed(Tape(minutes(FRIDAY, range(390))))
    assert (len(clean), found, warming.window.available("SPY")) == (50, {}, 50)
    assert warming.window.symbols == ()


def test_too_little_history_is_found_and_the_session_goes_on() -> None:
    warming, clean, found = warmed(Tape(minutes(FRIDAY, range(380, 390))))
    assert (len(clean), found) == (10, {"too_little_history": 1})
    assert warming.window.available("SPY") == 10


def test_a_warmup_that_ends_long_before_the_session_is_stale() -> None:
    # 31 bars are missing at Friday's end; 30 may be.
    assert warmed(Tape(minutes(FRIDAY, range(359))))[2] == {"stale_data": 1}
    assert warmed(Tape(minutes(FRIDAY, range(360))))[2] == {}
    assert warmed(Tape(minutes(FRIDAY, range(360))), max_staleness_bars=29)[2] == {"stale_data": 1}


@pytest.mark.parametrize(("kind", "have"), [("stale_data", range(300)), ("too_little_history", range(360, 390))])
def test_what_is_found_about_the_whole_warmup_may_refuse_or_drop_it(kind: str, have: range) -> None:
    feed = Tape(minutes(FRIDAY, have))
    with pytest.raises(BarsRefused, match=kind) as refusal:
        warmed(feed, **{kind: "refuse"})
    assert kinds(refusal.value.findings) == {kind: 1}
    warming, clean, found = warmed(feed, **{kind: "drop"})
    assert (len(clean), found, warming.window.available("SPY")) == (0, {kind: 1}, 0)


def test_a_policy_without_memory_needs_no_warmup() -> None:
    assert warmed(Tape([]), bars_needed=0)[2] == {}


def test_live_bars_are_finished_sane_and_within_hours() -> None:
    times = [*minutes(TUESDAY, range(-2, 3)), *minutes(TUESDAY, range(3, 5)), TUESDAY.closes_at]
    prices = [100, 100, 100, 101, 0, 500, 102, 103]
    live = list(loader(Tape(times, prices)).live_bars(["SPY"], TUESDAY))
    assert [(slice_.bar_time - TUESDAY.opens_at) // MINUTE for slice_, _ in live] == [0, 1, 2, 3, 4]
    assert [[int(bar.close) for bar in slice_.bars.values()] for slice_, _ in live] == [[100], [101], [], [], [102]]
    assert [kinds(findings) for _, findings in live] == [{}, {}, {"non_positive_price": 1}, {"price_jump": 1}, {}]


def test_a_refusing_finding_ends_live_bars() -> None:
    live = loader(Tape(minutes(TUESDAY, range(2)), [100, 0]), non_positive_price="refuse").live_bars(["SPY"], TUESDAY)
    next(live)
    with pytest.raises(DataNotFit, match="non_positive_price"):
        next(live)


def test_the_window_moves_only_when_a_slice_is_cached() -> None:
    live = loader(synthetic())
    slices = [slice_ for slice_, _ in live.live_bars(["SPY"], TUESDAY)][:3]
    assert live.window.available("SPY") == 0
    for count, slice_ in enumerate(slices, 1):
        live.cache_data(slice_)
        live.cache_data(slice_)
        assert live.window.symbols == ("SPY",)
        assert live.window.available("SPY") == count
        assert live.window.closes("SPY", 1).tolist() == [int(slice_.bars["SPY"].close * 1_000_000)]


def test_a_bad_market_yields_the_good_bars_of_the_same_day() -> None:
    fair = {s.bar_time: s.bars["SPY"] for s, _ in loader(synthetic()).live_bars(["SPY"], TUESDAY)}
    found: Counter[str] = Counter()
    heard = 0
    for slice_, findings in loader(synthetic(bad_print_fraction=0.1, gap_fraction=0.05)).live_bars(["SPY"], TUESDAY):
        found.update(kinds(findings))
        for bar in slice_.bars.values():
            heard += 1
            assert bar == fair[slice_.bar_time] or bar.close == 2 * fair[slice_.bar_time].close
    assert heard > 300
    assert set(found) == {"missing_value", "non_positive_price", "crossed_range", "duplicate_bar", "price_jump", "gap"}


def bar(minute: int, symbol: str = "SPY", volume: int | None = 1) -> Bar:
    price = Decimal(100 + minute)
    return Bar(symbol, TUESDAY.opens_at + minute * MINUTE, price, price + 1, price - 1, price, volume)


def moment(minute: int, *symbols: str) -> BarSlice:
    return BarSlice(TUESDAY.opens_at + minute * MINUTE, {symbol: bar(minute, symbol) for symbol in symbols})


def units(column: Column) -> list[int]:
    return [value // 1_000_000 for value in column.tolist()]


def test_a_window_keeps_its_capacity_however_long_it_runs() -> None:
    window = LiveWindow(["SPY"], 3, 1_000, timedelta(days=1))
    for minute in range(20):
        window.advance(moment(minute, "SPY"))
        newest = list(range(max(0, minute - 2), minute + 1))
        assert window.available("SPY") == len(newest)
        assert units(window.closes("SPY", 99)) == [100 + each for each in newest]
        assert units(window.highs("SPY", 2)) == [101 + each for each in newest[-2:]]
        assert units(window.lows("SPY", 1)) == [99 + minute]
    assert window.volumes("SPY", 2).tolist() == [1, 1]
    assert window.closes("SPY", 0).tolist() == []


def test_old_bars_fall_out_of_a_window_by_age() -> None:
    window = LiveWindow(["SPY"], 64, 100_000, timedelta(minutes=5))
    for minute in (0, 1, 2, 7):
        window.advance(moment(minute, "SPY"))
    # Minute 2 is exactly five minutes older than minute 7.
    assert units(window.closes("SPY", 9)) == [102, 107]


def test_a_window_that_would_take_too_much_memory_is_refused() -> None:
    # 100 bars x 2 places x 5 columns x 8 bytes = 8,000 bytes a symbol.
    assert LiveWindow(["SPY"], 100, 8_000, timedelta(days=1)).bytes == 8_000
    with pytest.raises(ConfigurationError, match=r"100 bars of 2 symbols takes 16,000 bytes; the cache may take 8,000"):
        LiveWindow(["SPY", "QQQ"], 100, 8_000, timedelta(days=1))


def test_symbols_without_a_bar_at_the_moment_are_not_present_and_keep_their_past() -> None:
    window = LiveWindow(["SPY", "QQQ"], 64, 100_000, timedelta(days=1))
    window.advance(moment(0, "SPY", "QQQ"))
    window.advance(moment(1, "QQQ"))
    assert window.symbols == ("QQQ",)
    assert window.available("SPY") == 1
    assert window.available("DIA") == 0
    assert window.closes("DIA", 5).tolist() == []


def test_what_a_window_shows_cannot_be_written_to() -> None:
    window = LiveWindow(["SPY"], 64, 100_000, timedelta(days=1))
    window.advance(moment(0, "SPY"))
    history = HistoryWindow({"SPY": BarColumns.of("SPY", [bar(0)])})
    history.move_to({"SPY": 0})
    for shown in (window.closes("SPY", 1), history.closes("SPY", 1)):
        with pytest.raises(ValueError, match="read-only"):
            shown[0] = 1


def test_a_window_over_history_shows_what_the_live_one_shows() -> None:
    bars = {
        "SPY": [bar(minute) for minute in range(10)],
        "QQQ": [bar(minute, "QQQ", None) for minute in range(0, 10, 2)],
    }
    live = LiveWindow(bars, 64, 100_000, timedelta(days=1))
    history = HistoryWindow({symbol: BarColumns.of(symbol, several) for symbol, several in bars.items()})
    assert (history.symbols, history.available("SPY"), history.closes("SPY", 3).tolist()) == ((), 0, [])
    for minute in range(10):
        present = {
            symbol: several
            for symbol, several in bars.items()
            if bar(minute, symbol).bar_time in {b.bar_time for b in several}
        }
        at = TUESDAY.opens_at + minute * MINUTE
        live.advance(
            BarSlice(at, {symbol: next(b for b in several if b.bar_time == at) for symbol, several in present.items()})
        )
        history.move_to({symbol: minute // (1 if symbol == "SPY" else 2) for symbol in present})
        assert history.symbols == live.symbols
        for symbol in ("SPY", "QQQ", "DIA"):
            assert history.available(symbol) == live.available(symbol)
            for name in ("closes", "highs", "lows", "volumes"):
                assert getattr(history, name)(symbol, 4).tolist() == getattr(live, name)(symbol, 4).tolist()
