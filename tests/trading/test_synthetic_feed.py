from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.bars import MISSING, BarColumns, Timeframe
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.errors import DataNotFit
from trading.feeds.synthetic import SyntheticFeed
from trading.sessions import Mode
from trading.settings import SyntheticSettings

CALENDAR = TradingCalendar("XNYS", date(2026, 1, 5))
MONDAY = date(2026, 1, 5)


def market(timeframe: Timeframe = Timeframe.MINUTE_1, **changes: float) -> SyntheticFeed:
    clock = BarClock(datetime(2026, 1, 1, tzinfo=UTC))
    return SyntheticFeed(SyntheticSettings.model_validate(changes), CALENDAR, timeframe, clock)


def session(feed: SyntheticFeed, symbol: str = "SPY", day: date = MONDAY) -> BarColumns:
    hours = CALENDAR.hours(day)
    return feed.history(symbol, hours.opens_at, hours.closes_at)


def as_lists(bars: BarColumns) -> list[list[int]]:
    return [column.tolist() for column in (bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume)]


def test_it_says_that_it_is_synthetic() -> None:
    assert market().mode is Mode.SYNTHETIC


def test_the_market_of_a_seed_is_the_same_for_ever() -> None:
    bars = session(market())
    # Written down once; a change of these numbers is a change of every synthetic session ever recorded.
    assert bars.close[:5].tolist() == [101_220_000, 101_260_000, 101_330_000, 101_450_000, 101_510_000]
    assert as_lists(bars) == as_lists(session(market()))


def test_seed_symbol_and_date_each_make_another_day() -> None:
    days = [
        session(market()),
        session(market(seed=8)),
        session(market(), symbol="QQQ"),
        session(market(), day=date(2026, 1, 6)),
    ]
    assert len({tuple(day.close.tolist()) for day in days}) == 4


@given(seed=st.integers(0, 2**63 - 1), volatility=st.floats(0.01, 5), day=st.sampled_from([5, 6, 7, 8, 9]))
@settings(max_examples=25, deadline=None)
def test_every_good_bar_is_a_bar_in_whole_cents(seed: int, volatility: float, day: int) -> None:
    bars = session(market(seed=seed, annual_volatility_fraction=volatility), day=date(2026, 1, day))
    assert len(list(bars)) == 390  # each row makes a Bar, which refuses nonsense
    for prices in (bars.open, bars.high, bars.low, bars.close):
        assert not (prices % 10_000).any()


def test_prices_go_on_where_the_day_before_ended() -> None:
    feed = market()
    before, after = session(feed, day=date(2026, 1, 2)), session(feed)
    # A quarter of the daily volatility (0.25 / sqrt(252) = 1.6 %) passes at night: five sigmas are 2 %.
    assert abs(int(after.open[0]) / int(before.close[-1]) - 1) < 0.02
    assert (after.open[1:] == after.close[:-1]).all()


def test_volatility_is_about_what_was_asked_for() -> None:
    closes = [
        int(session(market(), day=hours.session_date).close[-1]) for hours in CALENDAR.sessions_before(MONDAY, 240)
    ]
    # 240 daily moves at 0.25 / sqrt(252) = 0.0157; the estimate's own error is about 5 %.
    assert 0.0125 < np.std(np.diff(np.log(closes))) < 0.019


def test_a_half_day_has_its_210_bars() -> None:
    bars = session(market(), day=date(2025, 11, 28))
    assert len(bars) == 210
    assert CALENDAR.hours(date(2025, 11, 28)).local(next(iter(bars.take(slice(-1, None)))).bar_time).hour == 12


def test_volume_is_largest_at_both_ends() -> None:
    volume = session(market()).volume
    assert volume[:30].mean() > 1.5 * volume[180:210].mean() < volume[-30:].mean()
    assert 18_000 < volume.mean() < 22_000


def test_longer_bars_are_made_of_the_minutes() -> None:
    minutes, fives = session(market()), session(market(Timeframe.MINUTE_5))
    assert len(fives) == 78
    assert (fives.open[1], fives.close[1]) == (minutes.open[5], minutes.close[9])
    assert (fives.high[1], fives.low[1]) == (minutes.high[5:10].max(), minutes.low[5:10].min())
    assert fives.volume.sum() == minutes.volume.sum()


def test_history_spans_nights_weekends_and_holidays() -> None:
    start, end = CALENDAR.hours(date(2025, 12, 31)), CALENDAR.hours(MONDAY)
    bars = market().history("SPY", start.closes_at - timedelta(minutes=10), end.opens_at + timedelta(minutes=5))
    # 31 December's last 10, all of Friday 2 January, the first 5 of Monday.
    assert len(bars) == 10 + 390 + 5
    assert (np.diff(bars.time) > 0).all()
    assert len(market().history("SPY", end.opens_at, end.opens_at)) == 0


def test_gaps_leave_the_other_bars_as_they_were() -> None:
    whole, holed = session(market()), session(market(gap_fraction=0.1))
    assert 20 <= 390 - len(holed) <= 60
    assert as_lists(whole.take(np.isin(whole.time, holed.time))) == as_lists(holed)


def test_bad_prints_are_of_every_kind_and_leave_the_rest_alone() -> None:
    whole, bad = session(market()), session(market(bad_print_fraction=0.2))
    twice = np.diff(bad.time) == 0
    sound = ~np.append(twice, False)
    assert (bad.close == MISSING).any()
    assert ((bad.low < 0) & (bad.low != MISSING)).any()
    assert (bad.high < bad.low).any()
    assert twice.any()
    assert (bad.close[sound] == 2 * whole.close).any()
    assert (bad.open[sound] == whole.open).all()


def test_a_stream_delivers_the_session_and_a_resumed_one_the_rest() -> None:
    hours = CALENDAR.hours(MONDAY)
    slices = list(market().stream(["SPY", "QQQ"], hours, None))
    assert len(slices) == 390
    assert all(set(raw.rows) == {"SPY", "QQQ"} for raw in slices)
    rest = list(market().stream(["SPY"], hours, hours.opens_at + timedelta(minutes=386)))
    assert [raw.bar_time for raw in rest] == [hours.closes_at - timedelta(minutes=left) for left in (3, 2, 1)]


def test_a_session_of_nothing_but_gaps_is_refused() -> None:
    with pytest.raises(DataNotFit, match="gap_fraction"):
        market(gap_fraction=1 - 1e-12).stream(["SPY"], CALENDAR.hours(MONDAY), None)
