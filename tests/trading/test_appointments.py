"""Every session of four years on three exchanges, against their calendars used directly, wherever the machine thinks it is.

New York and London change their clocks on different Sundays, Tokyo never does.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as wall_time
from functools import lru_cache
from zoneinfo import ZoneInfo

import exchange_calendars
import pandas as pd
import pytest
from prefect.server.schemas.schedules import CronSchedule

from trading.appointments import Punctuality, appointed_date, require_time_left
from trading.bars import Timeframe
from trading.calendar import TradingCalendar
from trading.errors import AppointmentMissed, ClosedDay, ConfigurationError, SessionOver, TooLate
from trading.settings import LatePolicy, SessionSettings
from trading.trading_hours import TradingHours

YEARS = range(2024, 2028)
FIRST, LAST = date(YEARS[0], 1, 1), date(YEARS[-1], 12, 31)
EXCHANGES = {
    "XNYS": ("America/New_York", wall_time(9, 15)),
    "XLON": ("Europe/London", wall_time(7, 45)),
    "XTKS": ("Asia/Tokyo", wall_time(8, 45)),
}
MACHINES = ("Asia/Tokyo", "America/Los_Angeles", "UTC", "Pacific/Kiritimati")
BLACK_FRIDAY = date(2026, 11, 27)
PUNCTUALITY = Punctuality(LatePolicy.REDUCE_ONLY, timedelta(minutes=5), timedelta(minutes=1))


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> Iterator[str]:
    """A machine that is set to a zone of its own."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    try:
        yield request.param
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


@lru_cache
def truth(exchange: str) -> pd.DataFrame:
    """Opens and closes of all sessions as the calendar's own table has them."""
    return exchange_calendars.get_calendar(exchange, start=FIRST, end=LAST).schedule


def on_the_wall(exchange: str, day: date, at: wall_time) -> datetime:
    return datetime.combine(day, at, ZoneInfo(EXCHANGES[exchange][0])).astimezone(UTC)


@lru_cache
def sessions(exchange: str) -> tuple[TradingHours, ...]:
    return tuple(
        hours
        for year in YEARS
        for hours in TradingCalendar(exchange, date(year, 6, 1)).sessions_between(date(year, 1, 1), date(year, 12, 31))
    )


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_hours_of_every_session_are_those_of_the_exchange(exchange: str) -> None:
    table = truth(exchange)
    assert [hours.session_date for hours in sessions(exchange)] == [label.date() for label in table.index]
    assert [hours.opens_at for hours in sessions(exchange)] == [moment.to_pydatetime() for moment in table["open"]]
    assert [hours.closes_at for hours in sessions(exchange)] == [moment.to_pydatetime() for moment in table["close"]]


@pytest.mark.parametrize("exchange", ["XNYS", "XLON"])
def test_half_days_are_as_short_as_the_exchange_makes_them(exchange: str) -> None:
    short = [label.date() for label in exchange_calendars.get_calendar(exchange, start=FIRST, end=LAST).early_closes]
    assert len(short) > 5
    for hours in (one for one in sessions(exchange) if one.session_date in short):
        calendar = TradingCalendar(exchange, hours.session_date)
        row = truth(exchange).loc[pd.Timestamp(hours.session_date)]
        minutes = (row["close"] - row["open"]) // pd.Timedelta(minutes=1)
        assert calendar.is_half_day(hours.session_date)
        assert hours.bar_count(Timeframe.MINUTE_1) == minutes
        if exchange == "XNYS":
            assert minutes == 210


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_run_is_for_the_day_on_the_wall_of_its_exchange(exchange: str, machine: str) -> None:
    at = EXCHANGES[exchange][1]
    for label in truth(exchange).index:
        day = label.date()
        # Told in the machine's zone: it is the moment that counts.
        scheduled = on_the_wall(exchange, day, at).astimezone()
        assert appointed_date(exchange, scheduled, scheduled + timedelta(hours=1)) == day, machine


def test_the_cron_of_the_session_meets_every_session_before_its_bell() -> None:
    schedule = CronSchedule(cron="15 9 * * 1-5", timezone="America/New_York")
    runs = [
        run
        for year in YEARS
        for run in asyncio.run(
            schedule.get_dates(400, start=datetime(year, 1, 1, tzinfo=UTC), end=datetime(year + 1, 1, 1, tzinfo=UTC))
        )
    ]
    by_day = {hours.session_date: hours for hours in sessions("XNYS")}
    met = []
    for run in runs:
        moment = run.astimezone(UTC)
        if run.date() not in by_day:
            if run.year == 2026:  # naming a holiday takes its time
                with pytest.raises(ClosedDay, match=r"holiday|special closing"):
                    appointed_date("XNYS", moment, moment)
            continue
        day = appointed_date("XNYS", moment, moment)
        met.append(day)
        assert by_day[day].opens_at - moment == timedelta(minutes=15)
    assert met == list(by_day)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_lateness_counts_from_the_bell_of_each_session(exchange: str, machine: str) -> None:
    second = timedelta(seconds=1)
    for hours in sessions(exchange):
        bell = (
            truth(exchange)["open"][pd.Timestamp(hours.session_date)].to_pydatetime().astimezone()
        )  # the machine's zone
        since = [bell + timedelta(minutes=5) + off - hours.opens_at for off in (-second, timedelta(), second)]
        assert [PUNCTUALITY.judge(one, hours) is None for one in since] == [True, True, False], machine


def half_day() -> TradingHours:
    return TradingCalendar("XNYS", BLACK_FRIDAY).hours(BLACK_FRIDAY)


@pytest.mark.parametrize(
    ("after", "length", "minutes", "late"),
    [(0, 1, 1, False), (0, 1, 1.1, True), (5, 30, 29, False), (5, 30, 30.1, True), (5, 1, -15, False)],
)
def test_who_has_missed_no_bar_is_not_late(after: float, length: int, minutes: float, late: bool) -> None:
    punctuality = Punctuality(LatePolicy.TRADE, timedelta(minutes=after), timedelta(minutes=length))
    assert (punctuality.judge(timedelta(minutes=minutes), half_day()) is not None) is late


def test_what_follows_is_set() -> None:
    def begun(policy: str) -> Punctuality:
        return Punctuality.of(SessionSettings.model_validate({"late_policy": policy, "late_after_minutes": "0.5"}))

    half_hour = timedelta(minutes=30)
    assert begun("trade").allowed == timedelta(minutes=1)  # a minute's bar
    late = {policy: begun(policy).judge(half_hour, half_day()) for policy in LatePolicy}
    assert late[LatePolicy.TRADE] is not None
    assert late[LatePolicy.REDUCE_ONLY] is not None
    assert late[LatePolicy.REFUSE] is not None
    late[LatePolicy.TRADE].require_welcome("s")
    late[LatePolicy.REDUCE_ONLY].require_welcome("s")
    assert late[LatePolicy.TRADE].only_reduces == ""
    assert late[LatePolicy.REDUCE_ONLY].only_reduces == "it begins 30 minutes after the opening bell of 09:30"
    with pytest.raises(TooLate, match=r"30 minutes after the opening bell of 09:30, and session.late_policy is refuse"):
        late[LatePolicy.REFUSE].require_welcome("s")


def test_a_day_that_is_over_is_said_to_be_and_one_to_come_too() -> None:
    friday = on_the_wall("XNYS", BLACK_FRIDAY, wall_time(9, 15))
    with pytest.raises(
        AppointmentMissed, match=r"Friday 2026-11-27, 09:15 at XNYS, and it is Saturday.*over.*reconcile"
    ):
        appointed_date("XNYS", friday, friday + timedelta(hours=15))
    with pytest.raises(AppointmentMissed, match=r"start it on its day"):
        appointed_date("XNYS", friday, friday - timedelta(hours=10))
    # A holiday is a holiday, whenever somebody looks.
    thanksgiving = friday - timedelta(days=1)
    with pytest.raises(ClosedDay, match="Thanksgiving"):
        appointed_date("XNYS", thanksgiving, friday)
    with pytest.raises(ConfigurationError, match="no time zone"):
        appointed_date("XNYS", friday.replace(tzinfo=None), friday)


def test_of_late_runs_after_an_outage_only_the_newest_is_for_today() -> None:
    week = [
        on_the_wall("XNYS", date(2026, 3, day), wall_time(9, 15)) for day in (5, 6, 9, 10)
    ]  # clocks go forward on the 8th
    for now in (week[-1] + timedelta(hours=1), week[-1] + timedelta(hours=14)):
        kept = []
        for run in reversed(week):
            try:
                kept.append(appointed_date("XNYS", run, now))
            except AppointmentMissed:
                continue
        assert kept == [date(2026, 3, 10)]


def test_after_the_close_only_what_was_begun_is_brought_to_its_end() -> None:
    hours = half_day()
    last = hours.closes_at - timedelta(microseconds=1)
    require_time_left(last, hours, begun=False)
    require_time_left(hours.closes_at, hours, begun=True)
    with pytest.raises(SessionOver, match=r"closed at 13:00, and it is 13:00 on 2026-11-27"):
        require_time_left(hours.closes_at, hours, begun=False)


def test_a_session_that_begins_on_the_evening_before_is_not_guessed_from_a_schedule() -> None:
    # A quarter of an hour before Tuesday's session in Chicago, which begins on Monday at five; and in the middle of it.
    for moment in (datetime(2026, 1, 5, 22, 45, tzinfo=UTC), datetime(2026, 1, 6, 15, 0, tzinfo=UTC)):
        with pytest.raises(ConfigurationError, match="begins on the evening before"):
            appointed_date("CMES", moment, moment)
