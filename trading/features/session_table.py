"""Which session a bar belongs to, for whole columns of bars and for one bar after the other."""

import bisect
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import numpy as np

from trading.bars import Column, Timeframe, from_epoch_us, to_epoch_us
from trading.calendar import TradingCalendar
from trading.features.series import Floats

Belonging = tuple[float, float, float]
"""Open and close of a session in microseconds since the epoch, and the weekday of its exchange date (0 is Monday)."""

NO_SESSION: Belonging = (np.nan, np.nan, np.nan)

_USUAL_YEAR = 2025
"""Full sessions are as long as the longest of this year: a fixed one, so that a warmup is the same on every day."""

_AROUND_NEW_YEAR = timedelta(days=15)
"""A bar of one year's first or last hours, in UTC, may belong to a session of the other."""


@dataclass(frozen=True)
class SessionTable:
    """The sessions of some time, in order: ``opens``, ``closes`` and ``weekdays`` are parallel columns."""

    opens: Floats
    closes: Floats
    weekdays: Floats

    def of_columns(self, times: Column) -> tuple[Floats, Floats, Floats]:
        """For each bar the open, close and weekday of its session; NaN for bars outside of all."""
        place = np.searchsorted(self.opens, times, side="right") - 1
        outside = (place < 0) | (times >= self.closes[place])
        opens, closes, weekdays = self.opens[place], self.closes[place], self.weekdays[place]
        for column in (opens, closes, weekdays):
            column[outside] = np.nan
        return opens, closes, weekdays

    def of_moment(self, time: float) -> Belonging:
        """Open, close and weekday of the session that runs at ``time``."""
        place = bisect.bisect_right(self.opens, time) - 1
        if place < 0 or time >= self.closes[place]:
            return NO_SESSION
        return float(self.opens[place]), float(self.closes[place]), float(self.weekdays[place])


def sessions_around(exchange: str, first: int, last: int) -> SessionTable:
    """All sessions from the year of ``first`` to that of ``last`` (microseconds since the epoch).

    Raises ``ConfigurationError`` for an unknown exchange and years its calendar does not reach.
    """
    years = [_of_year(exchange, year) for year in range(from_epoch_us(first).year, from_epoch_us(last).year + 1)]
    opens, places = np.unique(np.concatenate([table.opens for table in years]), return_index=True)
    return SessionTable(
        opens,
        np.concatenate([table.closes for table in years])[places],
        np.concatenate([table.weekdays for table in years])[places],
    )


@lru_cache(maxsize=64)
def _of_year(exchange: str, year: int) -> SessionTable:
    first, last = date(year, 1, 1), date(year, 12, 31)
    sessions = TradingCalendar(exchange, first).sessions_between(first - _AROUND_NEW_YEAR, last + _AROUND_NEW_YEAR)
    return SessionTable(
        np.array([to_epoch_us(hours.opens_at) for hours in sessions], dtype=np.float64),
        np.array([to_epoch_us(hours.closes_at) for hours in sessions], dtype=np.float64),
        np.array([hours.session_date.weekday() for hours in sessions], dtype=np.float64),
    )


class SessionClock:
    """Tells the session of one bar after the other; looks into a table only where a new one begins."""

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._current = NO_SESSION

    def session_of(self, time: float) -> Belonging:
        """Open, close and weekday of the session that runs at ``time``; NaN outside of all."""
        opens, closes, _ = self._current
        if not opens <= time < closes:
            year = from_epoch_us(int(time)).year
            self._current = _of_year(self._exchange, year).of_moment(time)
        return self._current


@lru_cache(maxsize=64)
def full_session_bars(exchange: str, timeframe: Timeframe) -> int:
    """Bars of a session without an early close."""
    sessions = TradingCalendar(exchange, date(_USUAL_YEAR, 1, 1)).sessions_between(
        date(_USUAL_YEAR, 1, 1), date(_USUAL_YEAR, 12, 31)
    )
    return max(hours.bar_count(timeframe) for hours in sessions)
