"""When an exchange trades. With the hours that it hands out, and reports, the only module that knows exchange time.

A thin face over ``exchange_calendars``: a session is named by its exchange date, its hours are aware UTC. The library (and pandas,
which it brings) takes half a second to load: it is loaded by the first calendar that is made, so that a stop by hand, which mostly
needs none, does not wait for it.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from trading.errors import ClosedDay, ConfigurationError
from trading.trading_hours import TradingHours

if TYPE_CHECKING:
    import exchange_calendars
    import pandas as pd

_FIRST_YEAR, _LAST_YEAR = 1970, 2100

_DAY = timedelta(days=1)
_MARGIN = timedelta(days=400)
"""How far around an asked date a calendar is built: warmups reach into earlier sessions, never a year back."""


class TradingCalendar:
    """Sessions of one exchange around a date.

    Raises ``ConfigurationError`` for an exchange code that is not known or a date the calendar does not reach.
    """

    def __init__(self, exchange: str, around: date) -> None:
        if not _FIRST_YEAR <= around.year <= _LAST_YEAR:
            raise ConfigurationError(
                f"{around.isoformat()} is not a day to trade: give a date between {_FIRST_YEAR} and {_LAST_YEAR}."
            )
        self.exchange = exchange
        self._calendar = _build(exchange, date(around.year, 1, 1))
        self._zone = ZoneInfo(str(self._calendar.tz))

    def hours(self, session_date: date) -> TradingHours:
        """The session of ``session_date``; raises ``ClosedDay`` with the reason where there is none."""
        label = _label(session_date)
        if not self._calendar.is_session(label):
            following = self.next_session_date(session_date)
            raise ClosedDay(
                f"{self.exchange} is closed on {session_date:%A} {session_date.isoformat()}: "
                f"{self._reason(session_date)}. The next session is on {following.isoformat()}."
            )
        return TradingHours(
            session_date,
            self._calendar.session_open(label).to_pydatetime().astimezone(UTC),
            self._calendar.session_close(label).to_pydatetime().astimezone(UTC),
            self._zone,
        )

    def is_session(self, day: date) -> bool:
        """Whether the exchange trades on ``day``."""
        return bool(self._calendar.is_session(_label(day)))

    def is_half_day(self, session_date: date) -> bool:
        """Whether the session is shorter than the exchange's usual one."""
        return _label(session_date) in self._calendar.early_closes

    def previous_session_date(self, day: date) -> date:
        """The last session's date before ``day``."""
        return _as_date(self._calendar.date_to_session(_label(day - _DAY), direction="previous"))

    def next_session_date(self, day: date) -> date:
        """The first session's date after ``day``."""
        return _as_date(self._calendar.date_to_session(_label(day + _DAY), direction="next"))

    def sessions_before(self, session_date: date, count: int) -> list[TradingHours]:
        """The ``count`` sessions before ``session_date``, oldest first."""
        earlier = []
        day = session_date
        for _ in range(count):
            day = self.previous_session_date(day)
            earlier.append(self.hours(day))
        return earlier[::-1]

    def sessions_between(self, first: date, last: date) -> list[TradingHours]:
        """All sessions from ``first`` to ``last``, both included, oldest first."""
        labels = self._calendar.sessions_in_range(_label(first), _label(last))
        return [self.hours(_as_date(label)) for label in labels]

    def exchange_date(self, moment: datetime) -> date:
        """The date on the exchange's wall at ``moment``."""
        return moment.astimezone(self._zone).date()

    def _reason(self, day: date) -> str:
        if day.weekday() >= 5:
            return "weekend"
        label = _label(day)
        holidays = self._calendar.regular_holidays
        if holidays is not None:
            named = holidays.holidays(label, label, return_name=True)
            if len(named):
                return f"holiday ({named.iloc[0]})"
        return "special closing"


def _label(day: date) -> "pd.Timestamp":
    """The day as the library names it."""
    import pandas as pd

    return pd.Timestamp(day)


def _as_date(label: "pd.Timestamp") -> date:
    return label.date()


@lru_cache(maxsize=16)
def _build(exchange: str, around: date) -> "exchange_calendars.ExchangeCalendar":
    import exchange_calendars

    try:
        return exchange_calendars.get_calendar(
            exchange, start=around - _MARGIN, end=around + _MARGIN + timedelta(days=366)
        )
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise ConfigurationError(
            f"There is no exchange calendar {exchange!r}. Set session.exchange to an ISO code such as XNYS or XLON."
        ) from error
    except (ValueError, exchange_calendars.errors.CalendarError) as error:
        raise ConfigurationError(f"The calendar of {exchange} does not reach {around.year}: {error}") from error
