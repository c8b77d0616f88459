"""Bars that a session should have and a store has not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trading.bars import BarColumns, Column, Timeframe, to_epoch_us
from trading.trading_hours import TradingHours


@dataclass(frozen=True, slots=True)
class SessionGap:
    """One symbol's session that is not whole: ``missing`` of its ``expected`` bars are not there."""

    symbol: str
    hours: TradingHours
    missing: int
    expected: int

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"{self.symbol} {self.hours.session_date.isoformat()}"


def missing_bars(bars: BarColumns, hours: TradingHours, timeframe: Timeframe) -> Column:
    """The opens (microseconds) of the session's bars that ``bars`` has none of; whatever else is in ``bars`` does not count."""
    length = timeframe.minutes * 60_000_000
    expected = to_epoch_us(hours.opens_at) + length * np.arange(hours.bar_count(timeframe), dtype=np.int64)
    return np.setdiff1d(expected, bars.time)


def gaps_in(bars: BarColumns, sessions: Sequence[TradingHours], timeframe: Timeframe) -> list[SessionGap]:
    """The sessions of which ``bars`` (of one symbol) has not every bar, oldest first."""
    gaps = []
    for hours in sessions:
        missing = len(missing_bars(bars, hours, timeframe))
        if missing:
            gaps.append(SessionGap(bars.symbol, hours, missing, hours.bar_count(timeframe)))
    return gaps
