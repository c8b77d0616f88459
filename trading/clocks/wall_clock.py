"""Real time."""

import time
from datetime import UTC, datetime

_LONGEST_SLEEP_SECONDS = 30.0
"""A machine that was suspended, or whose time was set, is noticed after this long at the latest."""


class WallClock:
    """The machine's time in UTC. Where the machine's time is set back, this clock stands until it has caught up."""

    def __init__(self) -> None:
        self._latest = datetime.now(UTC)

    def now(self) -> datetime:
        """The machine's time."""
        self._latest = max(self._latest, datetime.now(UTC))
        return self._latest

    def wait_until(self, moment: datetime) -> None:
        """Sleep until ``moment``."""
        while (left := (moment - self.now()).total_seconds()) > 0:
            time.sleep(min(left, _LONGEST_SLEEP_SECONDS))
