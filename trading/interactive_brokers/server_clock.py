"""The session's time as the gateway has it: the wall's behind a live account, a stored day's behind a rehearsal.

The server tells its time in whole seconds, seldom; its bars tell it more often. Between two tellings time goes on at the
rate that was seen, so that the same code keeps time at any speed.
"""

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from trading.bars import from_epoch_us, to_epoch_us

_KEPT = 64
"""Tellings that the rate is made of."""
_APART_SECONDS = 0.05
"""Of tellings that come faster than this the newest is kept: else a burst of bars would leave too short a time to see a rate in."""
_ENOUGH_SECONDS = 1.5
"""How far two tellings must be apart before they say anything about the rate."""
_NEAR_REAL_TIME = (0.5, 1.5)
"""Whole seconds are coarse: what is about as fast as the wall is as fast as the wall."""
_GUESSED_AT_MOST_SECONDS = 15.0
"""How long a clock that is not the wall's is believed to go on without a word from it."""
_LOOKS_SECONDS = 0.25


class ServerClock:
    """A clock that follows what the server says, never back. Any thread may tell and ask.

    ``monotonic`` gives seconds of the machine. Asked before anything was told it raises ``RuntimeError``.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._told: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._rate = 1.0
        self._latest: float | None = None
        self._changed = threading.Condition()

    @property
    def rate(self) -> float:
        """Session seconds per second of the wall, as far as is known."""
        return self._rate

    @property
    def knows_rate(self) -> bool:
        """Whether ``rate`` was seen; until then it is a guess."""
        return bool(self._told) and self._told[-1][0] - self._told[0][0] >= _ENOUGH_SECONDS

    @property
    def is_known(self) -> bool:
        """Whether the server has told its time at all."""
        return self._latest is not None

    def tell(self, server_time: datetime) -> None:
        """The server's time was at least ``server_time`` just now."""
        with self._changed:
            at, seconds = self._monotonic(), to_epoch_us(server_time) / 1e6
            if len(self._told) > 1 and at - self._told[-2][0] < _APART_SECONDS:
                self._told.pop()
            self._told.append((at, seconds))
            self._rate = self._seen_rate()
            self._latest = max(seconds, self._latest or seconds)
            self._changed.notify_all()

    def now(self) -> datetime:
        """The session's time."""
        with self._changed:
            return from_epoch_us(round(self._read() * 1e6))

    def wait_until(self, moment: datetime) -> None:
        """Return once the session's time has reached ``moment``."""
        with self._changed:
            wanted = to_epoch_us(moment) / 1e6
            while (left := wanted - self._read()) > 0:
                pause = left / self._rate if self._rate > 0 else _LOOKS_SECONDS
                self._changed.wait(min(max(pause, 0.0005), _LOOKS_SECONDS))

    def seconds_since(self, moment: datetime) -> float:
        """Seconds of the wall since a moment of the session's time, at the rate that time goes now."""
        passed = (self.now() - moment).total_seconds()
        return passed / self._rate if self._rate > 0 else 0.0

    def session_time_of(self, wall_seconds: float) -> timedelta:
        """How much session time goes by in so many seconds of the wall."""
        return timedelta(seconds=wall_seconds * self._rate)

    def _read(self) -> float:
        if self._latest is None:
            raise RuntimeError("the server has not told its time yet")
        now = self._monotonic()
        last_at, _ = self._told[-1]
        if not _NEAR_REAL_TIME[0] <= self._rate <= _NEAR_REAL_TIME[1]:
            now = min(now, last_at + _GUESSED_AT_MOST_SECONDS)
        # Each telling is a floor: the server cuts off what is less than a second, and the wire takes its time.
        self._latest = max(self._latest, *(seconds + self._rate * (now - at) for at, seconds in self._told))
        return self._latest

    def _seen_rate(self) -> float:
        first_at, first = self._told[0]
        last_at, last = self._told[-1]
        if last_at - first_at < _ENOUGH_SECONDS:
            return self._rate
        seen = max((last - first) / (last_at - first_at), 0.0)
        return 1.0 if _NEAR_REAL_TIME[0] <= seen <= _NEAR_REAL_TIME[1] else seen
