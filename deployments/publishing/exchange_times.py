"""The times of our prefect.yaml are those of New York's session; at another exchange each keeps its distance from the bell it hangs on.

What comes before the close hangs on the opening bell, what comes after it on the close: 09:15 is a quarter of an hour before the open
everywhere, 16:20 twenty minutes after the close.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from trading.calendar import TradingCalendar

_WRITTEN_FOR = "XNYS"
_CRON = re.compile(r"(?P<minute>\d+|\*/\d+) (?P<first>\d+)(?:-(?P<last>\d+))? \* \* (?P<days>\S+)")
_A_MONTH = timedelta(days=31)
_LAST_MINUTE = 24 * 60 - 1


@dataclass(frozen=True, slots=True)
class _Bells:
    """The regular session, in minutes of the exchange's day; half days are shorter."""

    opens: int
    closes: int
    zone: str


def at_exchange(schedule: Mapping[str, Any], exchange: str, day: date) -> Mapping[str, Any]:
    """The schedule of our prefect.yaml for an exchange, in its zone, as its sessions are around ``day``.

    What is no cron of a time or of a range of hours stays as it is, and so does everything at an exchange whose sessions begin on the evening before.
    Raises ``ConfigurationError`` for an exchange that is not known.
    """
    written, wanted = _bells(_WRITTEN_FOR, day), _bells(exchange, day)
    cron = _CRON.fullmatch(str(schedule.get("cron", "")))
    if cron is None or wanted is None or written is None or schedule.get("timezone") != written.zone:
        return schedule

    def moved(minutes: int) -> int:
        there = minutes - written.opens + wanted.opens
        if minutes >= written.closes:
            there = minutes - written.closes + wanted.closes
        return min(max(there, 0), _LAST_MINUTE)

    first, last = int(cron["first"]), cron["last"]
    if cron["minute"].isdigit():
        if last is not None:
            return schedule
        hour, minute = divmod(moved(60 * first + int(cron["minute"])), 60)
        times = f"{minute} {hour}"
    else:
        times = f"{cron['minute']} {moved(60 * first) // 60}-{moved(60 * int(last or first) + 59) // 60}"
    return {**schedule, "cron": f"{times} * * {cron['days']}", "timezone": wanted.zone}


def _bells(exchange: str, day: date) -> _Bells | None:
    """None for an exchange whose sessions do not begin on their own date."""
    calendar = TradingCalendar(exchange, day)
    hours = calendar.sessions_between(day - _A_MONTH, day) or [calendar.hours(calendar.next_session_date(day))]
    regular = max(hours, key=lambda one: one.closes_at - one.opens_at)
    opens, closes = regular.local(regular.opens_at), regular.local(regular.closes_at)
    if opens.date() != regular.session_date or closes.date() != regular.session_date:
        return None
    return _Bells(60 * opens.hour + opens.minute, 60 * closes.hour + closes.minute, regular.zone.key)
