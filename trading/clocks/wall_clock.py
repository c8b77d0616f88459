"""Real time, and whoever takes its place in a rehearsal."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

from trading.ports import Clock

_LONGEST_SLEEP_SECONDS = 30.0
"""A machine that was suspended, or whose time was set, is noticed after this long at the latest."""
_SET_BACK = timedelta(seconds=1)
"""From so much on the machine's time was set back; less is a correction, which is waited for."""


class WallClock:
    """The machine's time in UTC, never going back. Any thread may ask.

    Where the machine's time is set forward, or the machine was suspended, this clock is there at once. Where it is set back this one
    goes on from where it was at the machine's own pace: who waits does not wait for an hour, and no moment comes twice.
    ``machine`` and ``steady`` (seconds that nobody sets) are asked for the time, ``sleep`` waits.
    """

    def __init__(
        self,
        machine: Callable[[], datetime] = lambda: datetime.now(UTC),
        steady: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._machine = machine
        self._steady = steady
        self._sleep = sleep
        self._latest = (machine(), steady())
        self._reading = threading.Lock()

    def now(self) -> datetime:
        """The machine's time."""
        with self._reading:
            told, steady = self._machine(), self._steady()
            latest, seen = self._latest
            if latest - told > _SET_BACK:
                told = latest + timedelta(seconds=max(steady - seen, 0.0))
            now = max(told, latest)
            self._latest = (now, steady)
            return now

    def wait_until(self, moment: datetime) -> None:
        """Sleep until ``moment``."""
        while (left := (moment - self.now()).total_seconds()) > 0:
            self._sleep(min(left, _LONGEST_SLEEP_SECONDS))


_rehearsed: ContextVar[Clock | None] = ContextVar("rehearsed wall", default=None)


def the_wall() -> Clock:
    """The wall that sessions are held against: the machine's time, or that of a rehearsal (``rehearsing_at``)."""
    rehearsed = _rehearsed.get()
    return WallClock() if rehearsed is None else rehearsed


@contextlib.contextmanager
def rehearsing_at(wall: Clock) -> Iterator[None]:
    """Sessions that are assembled inside the ``with`` take ``wall`` for real time: a holiday, a late start or the night that the
    clocks change can be rehearsed on any day."""
    token = _rehearsed.set(wall)
    try:
        yield
    finally:
        _rehearsed.reset(token)
