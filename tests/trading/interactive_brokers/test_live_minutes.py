"""Bars made of the broker's five-second bars, whatever way those come."""

import math
import random
from collections.abc import Iterable
from datetime import date, datetime, timedelta

import pytest

from trading.bars import MISSING, Timeframe, to_epoch_us
from trading.calendar import TradingCalendar
from trading.interactive_brokers.live_minutes import LiveMinutes, SessionGrid, columns_of, row_of
from trading.interactive_brokers.messages import BarTold

CALENDAR = TradingCalendar("XNYS", date(2026, 1, 5))
HOURS = CALENDAR.hours(date(2026, 1, 5))
OPEN = HOURS.opens_at
GRID = SessionGrid(HOURS, Timeframe.MINUTE_1)


def piece(number: int, **other: float) -> BarTold:
    """Five seconds: they open at 100 dollars and a cent more for each, close there, and reach ten cents either way."""
    price = 100 + number / 100
    prices = {
        "open": price,
        "high": price + 0.1,
        "low": price - 0.1,
        "close": price,
        "volume": 99.0 + number % 12,
    } | other
    return BarTold(1, OPEN + timedelta(seconds=5 * number), **prices)


def pieces(minute: int) -> list[BarTold]:
    return [piece(number) for number in range(12 * minute, 12 * minute + 12)]


def heard(bars: Iterable[BarTold], first: int = 0) -> LiveMinutes:
    minutes = LiveMinutes(GRID, first)
    for bar in bars:
        minutes.take(bar)
    return minutes


def first_minute() -> tuple[int, ...]:
    # 99 + 100 + ... + 110 = 12 * 99 + 66.
    return (100_000_000, 100_210_000, 99_900_000, 100_110_000, 12 * 99 + 66)


def test_twelve_pieces_are_a_bar() -> None:
    assert heard(pieces(0)).row(0) == first_minute()


def test_eleven_pieces_are_none() -> None:
    minutes = heard(pieces(0)[:-1])
    assert minutes.row(0) is None
    assert minutes.has_begun(0)


@pytest.mark.parametrize("seed", range(5))
def test_disorder_and_repetition_change_neither_prices_nor_volume(seed: int) -> None:
    told = pieces(0) + random.Random(seed).choices(pieces(0), k=8)
    random.Random(seed).shuffle(told)
    assert heard(told).row(0) == first_minute()


def test_of_two_tellings_of_the_same_seconds_the_first_counts() -> None:
    minutes = heard([*pieces(0)[:6], piece(5, close=500.0, high=500.0, volume=9_999.0), *pieces(0)[6:]])
    assert minutes.row(0) == first_minute()


def test_an_old_piece_again_is_no_news_and_fills_no_hole() -> None:
    minutes = heard(pieces(0)[:11])
    until = minutes.heard_until_us
    assert minutes.take(piece(10)) is None
    assert minutes.heard_until_us == until
    assert minutes.row(0) is None


def test_a_hole_is_certain_once_a_later_piece_has_come() -> None:
    minutes = heard(pieces(0)[:5])
    assert not minutes.surely_lacks(0)
    minutes.take(piece(6))
    assert minutes.surely_lacks(0)
    minutes.take(piece(5))
    assert not minutes.surely_lacks(0)


def test_a_missing_end_is_certain_once_the_next_bar_has_begun() -> None:
    minutes = heard(pieces(0)[:11])
    minutes.take(piece(12))
    assert minutes.surely_lacks(0)
    assert not minutes.surely_lacks(1)


def test_history_fills_what_is_not_whole_and_nothing_else() -> None:
    minutes = heard([*pieces(0), piece(12)])
    assert not minutes.fill(0, (1, 1, 1, 1, 1))
    assert minutes.fill(1, (2, 2, 2, 2, 2))
    assert (minutes.row(0), minutes.row(1)) == (first_minute(), (2, 2, 2, 2, 2))
    # What comes afterwards changes a whole bar no more.
    for late in pieces(1):
        assert minutes.take(late) is None
    assert minutes.row(1) == (2, 2, 2, 2, 2)


def test_what_was_passed_on_is_never_taken_again() -> None:
    minutes = heard(pieces(0)[:11])
    minutes.pass_on(0)
    assert minutes.take(piece(11)) is None
    assert not minutes.fill(0, (1, 1, 1, 1, 1))
    assert minutes.row(0) is None
    assert not minutes.has_begun(0)


@pytest.mark.parametrize("seconds", [-5, 6.5 * 3600, 2, 2.5, 24 * 3600])
def test_what_lies_outside_the_session_or_beside_the_grid_is_left_out(seconds: float) -> None:
    odd = BarTold(1, OPEN + timedelta(seconds=seconds), 1.0, 1.0, 1.0, 1.0, 1.0)
    minutes = LiveMinutes(GRID)
    assert minutes.take(odd) is None
    assert minutes.heard_until_us == GRID.opens_us


def test_nonsense_stays_nonsense_for_the_validation_to_see() -> None:
    told = pieces(0)
    told[3] = piece(3, high=math.nan)
    told[4] = piece(4, low=-1.0)
    told[11] = piece(11, close=math.inf)
    assert heard(told).row(0) == (100_000_000, MISSING, -1_000_000, MISSING, 12 * 99 + 66)


@pytest.mark.parametrize("volume", [-1.0, math.nan])
def test_a_volume_that_nobody_counted_is_none(volume: float) -> None:
    told = pieces(0)
    told[0] = BarTold(1, told[0].time, 100.0, 100.1, 99.9, 100.0, volume)
    row = heard(told).row(0)
    assert row is not None
    assert row[4] == MISSING


def test_longer_bars_are_made_of_as_many_pieces_as_they_have() -> None:
    grid = SessionGrid(HOURS, Timeframe.MINUTE_5)
    minutes = LiveMinutes(grid)
    for number in range(60):
        assert minutes.row(0) is None
        minutes.take(piece(number))
    row = minutes.row(0)
    assert row is not None
    # Opens at 100.00; the last of sixty closes at 100.59 and reaches 100.69.
    assert row[:4] == (100_000_000, 100_690_000, 99_900_000, 100_590_000)


def test_the_grid_counts_bars_of_a_half_day_too() -> None:
    half = CALENDAR.hours(date(2026, 11, 27))
    grid = SessionGrid(half, Timeframe.MINUTE_30)
    assert grid.count == 7
    assert grid.ends_us(6) == to_epoch_us(half.closes_at)
    assert grid.number_of(to_epoch_us(half.closes_at)) is None
    assert grid.over_by(to_epoch_us(half.opens_at + timedelta(minutes=59))) == 1


@pytest.mark.parametrize(
    ("after", "first"),
    [(None, 0), (OPEN - timedelta(days=3), 0), (OPEN, 1), (OPEN + timedelta(minutes=9), 10), (HOURS.closes_at, 390)],
)
def test_a_resumed_session_goes_on_after_its_last_bar(after: datetime | None, first: int) -> None:
    assert GRID.first_after(after) == first


def growing(minute: int, close: float, volume: float) -> BarTold:
    return BarTold(1, OPEN + timedelta(minutes=minute), 100.0, max(close, 100.0), min(close, 100.0), close, volume)


def renewed(minutes: LiveMinutes, bar: BarTold, seconds: float) -> int | None:
    """Hear of a growing bar so many seconds after the open; news of four seconds may be missed."""
    return minutes.renew(bar, GRID.opens_us + round(seconds * 1e6), 4_000_000)


def test_a_growing_bar_is_whole_when_the_next_one_has_begun() -> None:
    minutes = LiveMinutes(GRID)
    renewed(minutes, growing(0, 100.5, 100.0), 5)
    renewed(minutes, growing(0, 99.0, 300.0), 60)
    assert minutes.row(0) is None
    renewed(minutes, growing(1, 101.0, 10.0), 65)
    assert minutes.row(0) == (100_000_000, 100_000_000, 99_000_000, 99_000_000, 300)
    assert minutes.row(1) is None


def test_a_growing_bar_whose_last_news_were_lost_is_not_whole() -> None:
    minutes = LiveMinutes(GRID)
    renewed(minutes, growing(0, 100.5, 100.0), 55)
    renewed(minutes, growing(1, 101.0, 10.0), 65)
    assert minutes.row(0) is None
    assert minutes.surely_lacks(0)
    assert minutes.fill(0, (1, 2, 3, 4, 5))
    assert minutes.row(0) == (1, 2, 3, 4, 5)


def test_a_growing_bar_without_trades_at_its_end_is_whole() -> None:
    minutes = LiveMinutes(GRID)
    renewed(minutes, growing(0, 100.5, 100.0), 30)
    assert renewed(minutes, growing(0, 100.5, 100.0), 60) is None
    renewed(minutes, growing(1, 101.0, 10.0), 65)
    assert minutes.row(0) == (100_000_000, 100_500_000, 100_000_000, 100_500_000, 100)


def test_an_older_state_of_a_growing_bar_comes_too_late_to_change_it() -> None:
    minutes = LiveMinutes(GRID)
    renewed(minutes, growing(0, 100.5, 300.0), 60)
    renewed(minutes, growing(1, 100.0, 10.0), 65)
    assert renewed(minutes, growing(0, 100.2, 200.0), 66) is None
    assert renewed(minutes, growing(1, 103.0, 5.0), 67) is None
    renewed(minutes, growing(1, 101.0, 20.0), 120)
    renewed(minutes, growing(2, 101.0, 20.0), 125)
    assert minutes.row(1) == (100_000_000, 101_000_000, 100_000_000, 101_000_000, 20)
    assert minutes.row(0) == (100_000_000, 100_500_000, 100_000_000, 100_500_000, 300)


def test_a_growing_bar_can_be_taken_as_it_is_and_one_that_never_came_cannot() -> None:
    minutes = LiveMinutes(GRID)
    renewed(minutes, growing(1, 100.5, 300.0), 120)
    minutes.settle_renewed(0, 4_000_000)
    minutes.settle_renewed(1, 4_000_000)
    assert minutes.row(0) is None
    assert minutes.row(1) == (100_000_000, 100_500_000, 100_000_000, 100_500_000, 300)
    assert minutes.surely_lacks(0)


def test_what_was_growing_when_the_line_broke_is_believed_only_when_it_is_told_anew() -> None:
    minutes = LiveMinutes(GRID)
    renewed(minutes, growing(0, 100.5, 300.0), 55)
    minutes.break_off()
    minutes.settle_renewed(0, 4_000_000)
    assert minutes.row(0) is None
    renewed(minutes, growing(0, 100.7, 900.0), 60)
    renewed(minutes, growing(1, 100.0, 10.0), 65)
    assert minutes.row(0) == (100_000_000, 100_700_000, 100_000_000, 100_700_000, 900)


def test_numbers_of_the_wire_become_micros_exactly() -> None:
    assert row_of(0.1, 187.23, 0.000001, 4_321.123456, 12_345.0) == (100_000, 187_230_000, 1, 4_321_123_456, 12_345)
    assert row_of(math.nan, -2.5, 1e300, 0.0, -1.0) == (MISSING, -2_500_000, MISSING, 0, -1)


def test_bars_of_history_keep_their_order_and_their_repetitions() -> None:
    told = [growing(3, 101.0, 10.0), growing(1, 102.0, 20.0), growing(3, 101.0, 10.0)]
    columns = columns_of("SPY", told)
    assert columns.time.tolist() == [to_epoch_us(bar.time) for bar in told]
    assert columns.close.tolist() == [101_000_000, 102_000_000, 101_000_000]
    assert len(columns_of("SPY", [])) == 0
