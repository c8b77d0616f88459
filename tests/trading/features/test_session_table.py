"""Which session a moment belongs to: half days, closed days, clocks that change, and the turn of the year."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from trading.bars import Timeframe, to_epoch_us
from trading.calendar import TradingCalendar
from trading.errors import ConfigurationError
from trading.features.session_table import SessionClock, full_session_bars, sessions_around

MINUTE = timedelta(minutes=1)
MONDAY = 0.0


def told(moment: datetime, exchange: str = "XNYS") -> tuple[float, float, float]:
    return SessionClock(exchange).session_of(to_epoch_us(moment))


@pytest.mark.parametrize(
    "day", [date(2025, 3, 7), date(2025, 3, 10), date(2025, 11, 28), date(2025, 12, 24), date(2026, 1, 2)]
)
def test_a_session_runs_from_its_open_until_right_before_its_close(day: date) -> None:
    hours = TradingCalendar("XNYS", day).hours(day)
    session = (to_epoch_us(hours.opens_at), to_epoch_us(hours.closes_at), day.weekday())
    assert told(hours.opens_at) == session
    assert told(hours.closes_at - MINUTE) == session
    for outside in (hours.opens_at - MINUTE, hours.closes_at):
        assert np.isnan(told(outside)).all()


@pytest.mark.parametrize("day", [date(2026, 1, 1), date(2026, 1, 3), date(2025, 11, 27)])
def test_a_closed_day_has_no_session(day: date) -> None:
    assert np.isnan(told(datetime(day.year, day.month, day.day, 16, 0, tzinfo=UTC))).all()


def test_columns_and_moments_are_told_the_same_over_two_years() -> None:
    moments = [datetime(2024, 6, 1, tzinfo=UTC) + number * timedelta(minutes=47) for number in range(20_000)]
    times = np.array([to_epoch_us(moment) for moment in moments])
    table = sessions_around("XNYS", int(times[0]), int(times[-1]))
    clock = SessionClock("XNYS")
    one_by_one = np.array([clock.session_of(int(time)) for time in times])
    assert np.array_equal(np.array(table.of_columns(times)).T, one_by_one, equal_nan=True)
    # 252 sessions a year, 6.5 hours of 24 in 252 of 365 days: about 0.187 of all moments.
    assert np.isfinite(one_by_one[:, 0]).mean() == pytest.approx(0.187, abs=0.01)


def test_a_session_that_begins_in_the_old_year_in_utc_is_that_of_its_exchange_date() -> None:
    # Tokyo opens on Monday 6 January 2025 at midnight UTC; Sydney on Thursday 2 January at 23:00 UTC of the first.
    opens, _, weekday = told(datetime(2025, 1, 6, 0, 0, tzinfo=UTC), "XTKS")
    assert (opens, weekday) == (to_epoch_us(datetime(2025, 1, 6, 0, 0, tzinfo=UTC)), MONDAY)
    opens, _, weekday = told(datetime(2025, 1, 1, 23, 30, tzinfo=UTC), "XASX")
    assert (opens, weekday) == (to_epoch_us(datetime(2025, 1, 1, 23, 0, tzinfo=UTC)), 3.0)


def test_a_full_session_has_as_many_bars_as_fit() -> None:
    assert full_session_bars("XNYS", Timeframe.MINUTE_1) == 390
    assert full_session_bars("XNYS", Timeframe.MINUTE_30) == 13
    # London is open for eight and a half hours.
    assert full_session_bars("XLON", Timeframe.MINUTE_1) == 510


def test_an_unknown_exchange_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="There is no exchange calendar 'XXXX'"):
        sessions_around("XXXX", 0, 0)
