"""The market's own time: a multiple of the wall, or standing still until somebody moves it.

Two rules. Time never passes a barrier: the end of a bar that has not been shown yet, so that a machine that is too slow makes the
day longer and never lets a client see a time whose trades are still to come. And time stands still until ``begin``.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from trading.bars import to_epoch_us

_LAG_CAUGHT_UP_SECONDS = 0.25
"""Wall time that a late market makes good by hurrying; what it is later than that is lost for ever."""


class MarketClock:
    """Time that runs ``speed`` times as fast as the wall from ``starts_at`` on; None: it moves only by ``move_to``.

    Raises ``ValueError`` for a naive start or a speed that is not positive.
    """

    def __init__(
        self, starts_at: datetime, speed: float | None, wall_seconds: Callable[[], float] = time.monotonic
    ) -> None:
        to_epoch_us(starts_at)
        if speed is not None and not speed > 0:
            raise ValueError(f"speed {speed} is not positive")
        self.speed = speed
        self._wall_seconds = wall_seconds
        self._from = starts_at
        self._since: float | None = None
        self._barrier: datetime | None = None
        self._begun = asyncio.Event()

    @property
    def is_stepped(self) -> bool:
        """Whether it moves by ``move_to`` alone."""
        return self.speed is None

    def begin(self) -> None:
        """Let time run. Again: nothing."""
        if self._since is None:
            self._since = self._wall_seconds()
            self._begun.set()

    @property
    def has_begun(self) -> bool:
        """Whether time runs."""
        return self._since is not None

    def now(self) -> datetime:
        """The market's moment, aware UTC; never goes back."""
        moment = self._unhindered()
        return moment if self._barrier is None else min(moment, self._barrier)

    def hold_at(self, barrier: datetime | None) -> None:
        """Do not pass ``barrier``, which lies no earlier than the one before; None: no barrier any more.

        Time that was lost at the old barrier is made good by hurrying, where it is little.
        """
        if self._barrier is not None and self.speed is not None and self._since is not None:
            lag = (self._unhindered() - self._barrier).total_seconds() / self.speed
            if lag > _LAG_CAUGHT_UP_SECONDS:
                self._from, self._since = self._barrier, self._wall_seconds()
        self._barrier = barrier

    def move_to(self, moment: datetime) -> None:
        """Make it ``moment``; nothing where that has passed."""
        if moment > self.now():
            self._from = moment
            if self._since is not None:
                self._since = self._wall_seconds()

    async def wait_until(self, moment: datetime) -> None:
        """Return once it is ``moment``. Others run meanwhile, also where it has passed. For a clock that runs by itself."""
        if self.speed is None:
            raise ValueError("a clock that is stepped passes no time by itself")
        await self._begun.wait()
        await asyncio.sleep(0)
        while (left := (moment - self._unhindered()) / timedelta(seconds=1)) > 0:
            await asyncio.sleep(max(left / self.speed, 1e-6))

    def _unhindered(self) -> datetime:
        if self._since is None or self.speed is None:
            return self._from
        return self._from + timedelta(seconds=(self._wall_seconds() - self._since) * self.speed)
