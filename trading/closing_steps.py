"""The end of the day as steps before the close: warn, reduce only, flatten, into the closing auction.

Steps are taken at ends of bars. One that would come too late to trade is taken at the last bar whose orders still can.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from trading.risk_settings import ClosingSettings
from trading.trading_hours import TradingHours


class ClosingStep(IntEnum):
    """How far the day is closed; each step includes those before it."""

    OPEN = 0
    WARN = 1
    REDUCE_ONLY = 2
    FLATTEN = 3
    MARKET_ON_CLOSE = 4


@dataclass(frozen=True, slots=True)
class ClosingSteps:
    """When a session's steps begin, as ends of bars in ascending order; all of them None where positions are held overnight."""

    closes_at: datetime
    begins: tuple[tuple[datetime, ClosingStep], ...]

    @classmethod
    def of(cls, settings: ClosingSettings, hours: TradingHours, bar_length: timedelta) -> "ClosingSteps":
        """The steps of a session of bars of ``bar_length``."""
        if settings.hold_overnight:
            return cls(hours.closes_at, ())
        bars = -((hours.opens_at - hours.closes_at) // bar_length)
        last_useful = hours.opens_at + (bars - 1) * bar_length
        minutes = {
            ClosingStep.WARN: settings.warn_minutes,
            ClosingStep.REDUCE_ONLY: settings.reduce_only_minutes,
            ClosingStep.FLATTEN: settings.flatten_minutes,
            ClosingStep.MARKET_ON_CLOSE: settings.market_on_close_minutes,
        }
        begins = (
            (min(hours.closes_at - timedelta(minutes=float(before)), last_useful), step)
            for step, before in minutes.items()
            if before is not None
        )
        return cls(hours.closes_at, tuple(begins))

    def at(self, bar_ends_at: datetime) -> ClosingStep:
        """The step that holds at the end of a bar."""
        if not self.begins or bar_ends_at < self.begins[0][0]:
            return ClosingStep.OPEN
        return max(step for moment, step in self.begins if moment <= bar_ends_at)

    def clears_at(self, bar_ends_at: datetime, bar_length: timedelta) -> bool:
        """Whether positions are flattened from the next bar on: what could be in the way has to be gone by then."""
        return self.at(bar_ends_at + bar_length) >= ClosingStep.FLATTEN

    def begin_of(self, step: ClosingStep) -> datetime:
        """When the step begins; after the close where it never does."""
        return next((moment for moment, begun in self.begins if begun >= step), self.closes_at + timedelta(days=1))
