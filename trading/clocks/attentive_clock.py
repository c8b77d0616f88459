"""A clock that looks up while it waits: what a person asks for in the middle of a bar is not heard at its end only."""

from collections.abc import Callable
from datetime import datetime, timedelta

from trading.ports import Clock


class AttentiveClock:
    """Waits on ``clock`` in steps of ``step`` (session time; None: in one) and calls ``attend`` in between.

    ``attend`` is called on the waiting thread, at most once in ``every`` of ``wall``. What it raises ends the wait.
    """

    def __init__(self, clock: Clock, wall: Clock, step: timedelta | None, every: timedelta) -> None:
        self._clock = clock
        self._wall = wall
        self._step = step
        self._every = every
        self._attended = wall.now()
        self.attend: Callable[[], None] | None = None

    def now(self) -> datetime:
        """The session's time."""
        return self._clock.now()

    def wait_until(self, moment: datetime) -> None:
        """Return once the session's time has reached ``moment``."""
        self._look_up()
        while self._step is not None and moment - (now := self._clock.now()) > self._step:
            self._clock.wait_until(now + self._step)
            self._look_up()
        self._clock.wait_until(moment)

    def _look_up(self) -> None:
        if self.attend is None:
            return
        now = self._wall.now()
        if now - self._attended >= self._every:
            self._attended = now
            self.attend()
