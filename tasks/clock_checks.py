"""What a session needs of the machine's time: set, kept right, and known to the exchange's calendar. No Prefect is imported here."""

import ctypes
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from trading.calendar import TradingCalendar
from trading.checks import Check, ok, warn
from trading.errors import OpenbellError

SKEW_SECONDS = 2.0
"""A bar is over by the wall's time; more than this and the feed and this machine do not mean the same minute."""
_JUMP_SECONDS = 0.5
_A_YEAR = timedelta(days=365)
_A_LONG_WEEKEND = timedelta(days=7)
_STATUS = 5  # of struct timex in <sys/timex.h>: longs up to it, and what it holds when nobody keeps the clock right
_UNSYNCHRONISED = 0x0040


class Stopwatch:
    """Whether the machine's time was set while somebody looked: the wall against what only runs on."""

    def __init__(self) -> None:
        self._wall, self._steady = time.time(), time.monotonic()

    def jumped_seconds(self) -> float:
        """By how much the wall was set since, forwards or backwards."""
        return (time.time() - self._wall) - (time.monotonic() - self._steady)


def clock_checks(
    exchanges: Sequence[str], now: datetime, watch: Stopwatch, server_time: datetime | None
) -> Iterator[Check]:
    """``server_time`` is what the Prefect server said at ``now``; None without one."""
    yield _kept(watch, now, server_time)
    yield from (_calendar(exchange, now) for exchange in exchanges)


def _kept(watch: Stopwatch, now: datetime, server_time: datetime | None) -> Check:
    subject = "time"
    jumped = watch.jumped_seconds()
    if abs(jumped) > _JUMP_SECONDS:
        return warn(
            subject,
            f"the clock was set by {jumped:+.1f} s while this was looked at",
            "Let one service alone keep it (chrony or systemd-timesyncd), which slews instead of setting.",
        )
    skew = (server_time - now).total_seconds() if server_time is not None else 0.0
    if abs(skew) > SKEW_SECONDS:
        return warn(
            subject,
            f"the Prefect server's clock is {skew:+.1f} s from this machine's: schedules and bars go by different times",
            "Keep both machines' clocks right (chrony or systemd-timesyncd).",
        )
    synchronised = is_synchronised()
    if synchronised is None:
        return ok(subject, "the clock runs evenly; whether it is kept right is not told on this system")
    if not synchronised:
        return warn(
            subject,
            "the clock is not kept right by anybody, says the kernel",
            "Install chrony, or run `timedatectl set-ntp true`. In a container this is the host's to do.",
        )
    return ok(subject, "the clock is kept right, says the kernel")


def is_synchronised() -> bool | None:
    """Whether the kernel takes its clock for right; None where it cannot be asked. Nothing is set."""
    if sys.platform != "linux":
        return None
    try:
        # struct timex: an int and its padding, then longs; room for far more than there is.
        told = (ctypes.c_long * 64)()
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(told)) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return not told[_STATUS] & _UNSYNCHRONISED


def _calendar(exchange: str, now: datetime) -> Check:
    subject, until = "calendar", now.date() + _A_YEAR
    step = "Install a newer exchange_calendars (pip install -U 'exchange_calendars>=4.11,<5') before the year ends."
    try:
        sessions = TradingCalendar(exchange, now.date()).sessions_between(now.date(), until)
    except (OpenbellError, ValueError) as error:
        return warn(subject, f"{exchange} is not known until {until.isoformat()}: {error}", step)
    last = sessions[-1].session_date if sessions else now.date()
    if until - last > _A_LONG_WEEKEND:
        return warn(subject, f"{exchange} is known until {last.isoformat()} only", step)
    return ok(subject, f"{exchange} has {len(sessions)} sessions within a year, the last on {last.isoformat()}")
