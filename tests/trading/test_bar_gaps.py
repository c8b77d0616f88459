"""What a session should have and a store has not. XNYS opens at 14:30 UTC in winter; 2026-11-27 is a half day of 210 minutes."""

from datetime import date

import numpy as np

from trading.bar_gaps import gaps_in, missing_bars
from trading.bars import BarColumns, Timeframe, to_epoch_us
from trading.calendar import TradingCalendar
from trading.trading_hours import TradingHours

CALENDAR = TradingCalendar("XNYS", date(2026, 11, 27))
WHOLE, HALF = CALENDAR.hours(date(2026, 11, 25)), CALENDAR.hours(date(2026, 11, 27))
MINUTE = Timeframe.MINUTE_1


def bars(*parts: tuple[TradingHours, range]) -> BarColumns:
    times = [to_epoch_us(hours.opens_at) + 60_000_000 * minute for hours, minutes in parts for minute in minutes]
    column = np.array(times, dtype=np.int64)
    return BarColumns("SPY", column, column, column, column, column, column)


def test_every_bar_of_the_hours_is_expected_on_whole_and_half_days() -> None:
    gaps = gaps_in(BarColumns.empty("SPY"), [WHOLE, HALF], MINUTE)
    assert [(gap.label, gap.missing, gap.expected) for gap in gaps] == [
        ("SPY 2026-11-25", 390, 390),
        ("SPY 2026-11-27", 210, 210),
    ]


def test_whole_sessions_have_no_gap_and_minutes_that_are_missing_are_told() -> None:
    stored = bars((WHOLE, range(390)), (HALF, range(210)))
    assert gaps_in(stored, [WHOLE, HALF], MINUTE) == []
    holed = bars((WHOLE, range(390)), (HALF, range(100)), (HALF, range(103, 210)))
    [gap] = gaps_in(holed, [WHOLE, HALF], MINUTE)
    assert (gap.hours, gap.missing) == (HALF, 3)
    opens = to_epoch_us(HALF.opens_at)
    assert missing_bars(holed, HALF, MINUTE).tolist() == [opens + 60_000_000 * minute for minute in (100, 101, 102)]


def test_bars_outside_of_hours_and_between_the_minutes_are_not_the_missing_ones() -> None:
    early = bars((WHOLE, range(-30, 389)))
    assert [gap.missing for gap in gaps_in(early, [WHOLE], MINUTE)] == [1]
    off = bars((WHOLE, range(390)))
    shifted = BarColumns("SPY", off.time + 1_000_000, *[off.open] * 5)
    assert [gap.missing for gap in gaps_in(shifted, [WHOLE], MINUTE)] == [390]


def test_a_last_bar_that_the_close_cuts_short_is_expected_too() -> None:
    # 390 minutes are 13 bars of 30 minutes; 210 are 7.
    assert [gap.expected for gap in gaps_in(BarColumns.empty("SPY"), [WHOLE, HALF], Timeframe.MINUTE_30)] == [13, 7]
