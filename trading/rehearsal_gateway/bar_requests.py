"""What a client asks for when it asks for past bars, read and checked as Interactive Brokers does."""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from trading.calendar import TradingCalendar
from trading.rehearsal_gateway.refusals import Refused
from trading.rehearsal_gateway.wire_times import UnreadableTime, WireTimes
from trading.trading_hours import TradingHours

_SIZES = {
    "5 secs": 5,
    "10 secs": 10,
    "15 secs": 15,
    "30 secs": 30,
    "1 min": 60,
    "2 mins": 120,
    "3 mins": 180,
    "5 mins": 300,
    "10 mins": 600,
    "15 mins": 900,
    "20 mins": 1200,
    "30 mins": 1800,
    "1 hour": 3600,
    "2 hours": 7200,
    "3 hours": 10_800,
    "4 hours": 14_400,
    "8 hours": 28_800,
    "1 day": 86_400,
}
_SPELLINGS = {"1 hours": "1 hour", "1 mins": "1 min", "1 days": "1 day", "1D": "1 day", "1d": "1 day"}
_DURATION = re.compile(r"(\d{1,9}) ?([SDWMY])")
_PRICES = ("TRADES", "MIDPOINT", "BID", "ASK", "ADJUSTED_LAST")
_LONGEST_SECONDS, _LONGEST_DAYS, _MOST_DAYS_BACK = 86_400, 365, 366
_LONGEST_OF_SECOND_BARS = timedelta(days=1)
_CALENDAR_DAYS = {"W": 7, "M": 30.4375, "Y": 365.25}

SCHEDULE = "SCHEDULE"


class DurationUnit(StrEnum):
    SECONDS = "S"
    DAYS = "D"
    WEEKS = "W"
    MONTHS = "M"
    YEARS = "Y"


@dataclass(frozen=True, slots=True)
class BarRequest:
    """Past bars as they were asked for. ``end`` is None for the present moment."""

    end: datetime | None
    count: int
    unit: DurationUnit
    seconds: int
    what: str
    regular_hours: bool
    in_epoch_seconds: bool
    keep_up_to_date: bool

    @property
    def is_daily(self) -> bool:
        """Whether a bar is a day."""
        return self.seconds == 86_400

    def starts_at(self, end: datetime, calendar: TradingCalendar) -> datetime:
        """From when on bars are asked for, ``end`` being the request's end or the present.

        Seconds are counted in trading time, so that an evening's last ten minutes are those before the close; days are sessions,
        the one that ``end`` falls into or follows being the first; weeks, months and years begin with the same day of an earlier one.
        """
        if self.unit is DurationUnit.SECONDS:
            return self._seconds_before(end, calendar)
        if self.unit is DurationUnit.DAYS:
            return sessions_until(end, self.count, calendar)[0].opens_at
        zone = calendar.hours(calendar.next_session_date(calendar.exchange_date(end))).zone
        return datetime.combine(self._first_date(calendar.exchange_date(end)), time(), tzinfo=zone).astimezone(UTC)

    def _first_date(self, last: date) -> date:
        if self.unit is DurationUnit.WEEKS:
            return last - timedelta(weeks=self.count)
        months = self.count * (12 if self.unit is DurationUnit.YEARS else 1)
        year, month = divmod(12 * last.year + last.month - 1 - months, 12)
        return date(year, month + 1, min(last.day, monthrange(year, month + 1)[1]))

    def _seconds_before(self, end: datetime, calendar: TradingCalendar) -> datetime:
        left = timedelta(seconds=self.count)
        # A day has at least three hours of trading: what is asked for lies in the last eight sessions.
        for hours in reversed(sessions_until(end, 8, calendar)):
            latest = min(end, hours.closes_at)
            length = latest - hours.opens_at
            if left <= length:
                begins = latest - left
                return begins - timedelta(seconds=begins.timestamp() % min(self.seconds, 60))
            left -= length
        return hours.opens_at


def sessions_until(end: datetime, count: int, calendar: TradingCalendar) -> list[TradingHours]:
    """The last ``count`` sessions that opened before ``end``, oldest first."""
    day = calendar.exchange_date(end)
    if not (calendar.is_session(day) and calendar.hours(day).opens_at < end):
        day = calendar.previous_session_date(day)
    return [*calendar.sessions_before(day, count - 1), calendar.hours(day)]


def read_request(
    end: str,
    size: str,
    duration: str,
    what: str,
    regular_hours: bool,
    date_format: int,
    keep_up_to_date: bool,
    times: WireTimes,
) -> BarRequest:
    """The request in words; raises ``Refused``."""
    seconds = _SIZES.get(_SPELLINGS.get(size, size))
    if seconds is None:
        raise _invalid(f"Invalid bar size setting: {size!r}. Legal ones are: {', '.join(_SIZES)}.")
    match = _DURATION.fullmatch(duration.strip())
    if match is None or int(match[1]) == 0:
        raise _invalid(f"Invalid duration: {duration!r}. It is a number and S, D, W, M or Y, such as '1 D'.")
    count, unit = int(match[1]), DurationUnit(match[2])
    if unit is DurationUnit.SECONDS and count > _LONGEST_SECONDS:
        raise _invalid("Historical data requests for durations longer than 86400 seconds must be made in days.")
    if unit is DurationUnit.DAYS and count > _LONGEST_DAYS:
        raise _invalid("Historical data requests for durations longer than 365 days must be made in years.")
    if unit not in (DurationUnit.SECONDS, DurationUnit.DAYS) and count * _CALENDAR_DAYS[unit] > _MOST_DAYS_BACK:
        raise Refused(162, "Historical Market Data Service error message:Time length exceed max.")
    of_a_day = unit is DurationUnit.SECONDS or (
        unit is DurationUnit.DAYS and count * timedelta(days=1) <= _LONGEST_OF_SECOND_BARS
    )
    if seconds < 60 and not of_a_day:
        raise Refused(162, "Historical Market Data Service error message:Time length exceed max.")
    if what not in (*_PRICES, SCHEDULE):
        raise _invalid(
            f"Invalid whatToShow: {what!r} is not modelled by the rehearsal gateway; {', '.join(_PRICES)} are."
        )
    if date_format not in (1, 2):
        raise _invalid(f"Invalid date format {date_format}: it is 1 or 2.")
    if end and keep_up_to_date:
        raise _invalid("Historical data queries that are kept up to date have no end date.")
    if end and what == "ADJUSTED_LAST":
        raise _invalid("End date not supported with adjusted last.")
    try:
        ends_at = times.asked(end) if end.strip() else None
    except UnreadableTime as error:
        raise Refused(
            10314,
            "End Date/Time: The date, time, or time-zone entered is invalid. The correct format is yyyymmdd hh:mm:ss xx/xxxx "
            "where yyyymmdd and xx/xxxx are optional. E.g.: 20031126 15:59:00 US/Eastern.",
        ) from error
    return BarRequest(ends_at, count, unit, seconds, what, regular_hours, date_format == 2, keep_up_to_date)


def _invalid(cause: str) -> Refused:
    return Refused(321, f"Error validating request.-'rehearsal' : cause - {cause}")
