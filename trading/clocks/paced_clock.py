"""A multiple of the wall: a stored session at a speed that a person can watch."""

import time
from datetime import datetime, timedelta

from trading.bars import to_epoch_us


class PacedClock:
    """Time that runs ``speed`` times as fast as the wall, from ``starts_at`` at the moment of construction.

    Stands on the monotonic clock, so that changes of the machine's time do not reach the session. Raises
    ``ValueError`` for a naive start or a speed that is not positive.
    """

    def __init__(self, starts_at: datetime, speed: float) -> None:
        to_epoch_us(starts_at)
        if not speed > 0:
            raise ValueError(f"speed {speed} is not positive")
        self._starts_at = starts_at
        self._speed = speed
        self._started = time.monotonic()

    def now(self) -> datetime:
        """The session's time at this instant of the wall."""
        return self._starts_at + timedelta(seconds=(time.monotonic() - self._started) * self._speed)

    def wait_until(self, moment: datetime) -> None:
        """Sleep until the session's time has reached ``moment``."""
        while (left := (moment - self.now()).total_seconds()) > 0:
            # Rounding can leave less than a microsecond of session time; sleeping zero seconds would only spin.
            time.sleep(max(left / self._speed, 1e-6))
