"""The bars' own time: a stored session runs as fast as it can be computed."""

from datetime import datetime

from trading.bars import to_epoch_us


class BarClock:
    """Time that stands still until somebody waits for a moment, and then is that moment.

    Starts at ``starts_at`` (aware; ``ValueError`` otherwise). Never goes back: waiting for the past changes nothing.
    """

    def __init__(self, starts_at: datetime) -> None:
        to_epoch_us(starts_at)
        self._now = starts_at

    def now(self) -> datetime:
        """The latest moment that was waited for."""
        return self._now

    def wait_until(self, moment: datetime) -> None:
        """Make it ``moment``, at once."""
        self._now = max(self._now, moment)
