"""The hours of one session of an exchange: what a calendar is asked for, apart from the libraries that know."""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from trading.bars import Timeframe


@dataclass(frozen=True, slots=True)
class TradingHours:
    """One session of an exchange: trading runs over ``[opens_at, closes_at)``, aware UTC."""

    session_date: date
    opens_at: datetime
    closes_at: datetime
    zone: ZoneInfo

    def bar_count(self, timeframe: Timeframe) -> int:
        """Bars of a full session; a last bar that the close cuts short counts."""
        return -((self.opens_at - self.closes_at) // timeframe.length)

    def local(self, moment: datetime) -> datetime:
        """``moment`` in exchange time, for people."""
        return moment.astimezone(self.zone)
