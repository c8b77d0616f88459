from datetime import UTC, date, datetime

import pytest

from trading.bars import Timeframe
from trading.calendar import TradingCalendar
from trading.errors import ClosedDay, ConfigurationError


@pytest.fixture(scope="module")
def new_york() -> TradingCalendar:
    return TradingCalendar("XNYS", date(2024, 6, 3))


def test_a_winter_session_opens_at_half_past_two_in_utc(new_york: TradingCalendar) -> None:
    hours = new_york.hours(date(2024, 1, 16))
    assert (hours.opens_at, hours.closes_at) == (
        datetime(2024, 1, 16, 14, 30, tzinfo=UTC),
        datetime(2024, 1, 16, 21, 0, tzinfo=UTC),
    )


def test_a_summer_session_opens_an_hour_earlier_in_utc(new_york: TradingCalendar) -> None:
    # Clocks went forward on Sunday 10 March 2024.
    assert new_york.hours(date(2024, 3, 8)).opens_at.hour == 14
    assert new_york.hours(date(2024, 3, 11)).opens_at == datetime(2024, 3, 11, 13, 30, tzinfo=UTC)


def test_a_holiday_is_refused_by_its_name_with_the_next_session(new_york: TradingCalendar) -> None:
    with pytest.raises(ClosedDay, match=r"Monday 2024-01-15: holiday \(.*Martin Luther King.*\).*2024-01-16"):
        new_york.hours(date(2024, 1, 15))


def test_a_weekend_is_refused_as_such(new_york: TradingCalendar) -> None:
    with pytest.raises(ClosedDay, match=r"Saturday 2024-01-13: weekend.*2024-01-16"):
        new_york.hours(date(2024, 1, 13))


def test_a_day_of_mourning_is_a_special_closing() -> None:
    # President Carter's funeral, Thursday 9 January 2025.
    with pytest.raises(ClosedDay, match="special closing"):
        TradingCalendar("XNYS", date(2025, 1, 9)).hours(date(2025, 1, 9))


def test_a_half_day_has_210_minutes(new_york: TradingCalendar) -> None:
    thanksgiving_friday = date(2024, 11, 29)
    assert new_york.is_half_day(thanksgiving_friday)
    assert new_york.hours(thanksgiving_friday).bar_count(Timeframe.MINUTE_1) == 210
    assert not new_york.is_half_day(date(2024, 11, 27))
    assert new_york.hours(date(2024, 11, 27)).bar_count(Timeframe.MINUTE_30) == 13


def test_neighbouring_sessions_step_over_weekend_and_holiday(new_york: TradingCalendar) -> None:
    assert new_york.previous_session_date(date(2024, 1, 16)) == date(2024, 1, 12)
    assert new_york.next_session_date(date(2024, 1, 12)) == date(2024, 1, 16)
    assert [hours.session_date.day for hours in new_york.sessions_before(date(2024, 1, 16), 3)] == [10, 11, 12]
    between = new_york.sessions_between(date(2024, 1, 12), date(2024, 1, 17))
    assert [hours.session_date.day for hours in between] == [12, 16, 17]


def test_the_exchange_date_of_an_evening_in_utc_is_the_day_on_its_own_wall(new_york: TradingCalendar) -> None:
    assert new_york.exchange_date(datetime(2024, 1, 17, 1, 0, tzinfo=UTC)) == date(2024, 1, 16)


def test_an_unknown_exchange_is_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"'NOPE'.*XNYS"):
        TradingCalendar("NOPE", date(2024, 1, 2))
